"""Passwords are masked in whatever is written, and nothing else is."""

import pytest

from environments.passwords import find_password, hide_password, is_masked, mask_passwords, mask_urls

URL = "postgresql://bob:s3cret@host:5432/name"


@pytest.mark.parametrize("secret", ["s3cret", ["s3cret"], {"of": "s3cret"}, 12345])
def test_a_password_is_masked_whatever_its_kind(secret):
    assert mask_passwords({"api_key": secret, "size": secret}) == {"api_key": "***", "size": secret}


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        (f"search.storage={URL}", "search.storage=postgresql://bob:***@host:5432/name"),
        ("mysql+pymysql://bob:s3@c/r:et@host/name", "mysql+pymysql://bob:***@host/name"),
        ("https://:s3cret@host", "https://:***@host"),
        ("postgresql://host/name?user=bob&password=s3cret&x=1", "postgresql://host/name?user=bob&password=***&x=1"),
        ("WANDB_API_KEY=s3cret", "WANDB_API_KEY=***"),
        ("+env.hf_token=s3cret and more", "+env.hf_token=***"),
        ("PGPASSWORD=s3cret", "PGPASSWORD=***"),
        ("callbacks=[{m:C: {every: 3, password: s3cret}}]", "callbacks=[{m:C: {every: 3, password: ***}}]"),
        ("env.kwargs={api_key:s3c ret,size:8}", "env.kwargs={api_key:***,size:8}"),
        ("""{"hf_token": "s3c, } \\"ret", "a": "b"}""", """{"hf_token": ***, "a": "b"}"""),
        ("{password: ${oc.env:NAME}s3cret}", "{password: ***}"),
    ],
)
def test_a_password_is_masked_wherever_it_stands(word, shown):
    assert mask_passwords([word]) == [shown] and "s3c" not in mask_passwords(f"it said: {word}")
    assert is_masked(mask_passwords({"a": {"b": word}})["a"]["b"])


@pytest.mark.parametrize(
    "word",
    [
        "postgresql://user@host/name",
        "search.storage=${oc.env:STORAGE}",
        "search.storage=postgresql://bob:${oc.env:PASSWORD}@host/name",
        "DB_PASSWORD=${oc.env:DB_PASSWORD}",
        "sqlite:////data/a:b@c/study.db",
        "http://127.0.0.1:8265/#/jobs/a",
        "write key=value, without spaces",
        "algo.lr=1e-4",
        "monkey=1",
        "output_dir=/tmp/sort_key=3/token=4",
        "RAY_AUTH_MODE=token",
        "callbacks=[{m:C: {password: ${oc.env:NAME}, monkey: 1}}]",
        "it stopped, token: unexpected, after {a: 1}",
    ],
)
def test_what_is_no_password_stays(word):
    assert mask_passwords([word]) == [word] and mask_passwords(word) == word and not is_masked(word)


def test_code_keeps_its_words_but_for_the_passwords_of_urls():
    code = b"-storage: old\n+storage: postgresql://bob:s3cret@host/name\n+token = token or key\n\xff"
    code += b'["http://localhost:8080/a","mail@x.org"] <a href="http://h:8080">x</a><b>me@x</b> ${oc.env:STORAGE}@'
    assert mask_urls(code) == code.replace(b"s3cret", b"***")


def test_settings_and_numbers_keep_their_kind():
    settings = {"seed": [1, 2], "lr": 0.1, "none": None, "on": True, "api_key": "s3cret", "token": ""}
    assert mask_passwords(settings) == settings | {"api_key": "***"}


def test_what_a_driver_quotes_of_a_password_is_hidden_in_parts_as_well():
    password = find_password("postgresql://bob:s3cret@word@host/name")
    assert password == "s3cret@word"
    said = hide_password('could not translate host name "word@host" for s3cret, s3cret@word', password)
    assert "s3cret" not in said and "word@" not in said
