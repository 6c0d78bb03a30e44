"""Protocols: a score says under which rules it was made."""

from settings.protocols import PROTOCOLS, describe_protocol


def test_a_protocol_is_described_by_its_name_and_by_all_that_departs_from_it(compose):
    assert describe_protocol(compose()["env"]) == "classic"
    assert describe_protocol(compose(["env.protocol=machado"])["env"]) == "machado"
    changed = compose(["env.protocol=machado", "env.noop_max=30", "env.life_loss=true"])["env"]
    assert describe_protocol(changed) == "machado, noop_max 30, life_loss True"
    assert describe_protocol(compose(["env.sticky=0.25"])["env"]) == "classic, sticky 0.25"


def test_an_environment_without_rules_has_no_protocol(compose):
    assert describe_protocol(compose(["env=cartpole"])["env"]) == "none"


def test_the_rules_are_those_of_the_papers():
    classic, machado = PROTOCOLS["classic"], PROTOCOLS["machado"]
    assert (classic["sticky"], classic["noop_max"], classic["life_loss"]) == (0, 30, True)
    assert (machado["sticky"], machado["full_action_space"], machado["life_loss"]) == (0.25, True, False)
    assert classic.keys() == machado.keys()
    assert classic["max_episode_frames"] == machado["max_episode_frames"] == 30 * 60 * 60  # half an hour at 60 Hz


def test_the_named_protocol_fills_every_rule_that_is_not_set(compose):
    for name, rules in PROTOCOLS.items():
        env = compose([f"env.protocol={name}"])["env"]
        assert {rule: env[rule] for rule in rules} == rules
