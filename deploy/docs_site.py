"""A hook of mkdocs: a link from docs/ to another file of the repository becomes its name; the site has no such page.

docs/*.md as they are -> on_page_markdown -> mkdocs -> site/
"""

import re

LINK = re.compile(r"!?\[([^\]]+)\]\(((?:\.\./)+)([^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page, **_) -> str:
    """Replace every link that leaves docs/ by its text.

    Args:
        markdown: the text of a page.
        page: mkdocs' own; `page.file.src_uri` is its path below docs/.
    """
    depth = page.file.src_uri.count("/")

    def keep_or_name(link: re.Match) -> str:
        leaves = link.group(2).count("../") > depth
        return link.group(1) if leaves else link.group(0)

    return LINK.sub(keep_or_name, markdown)
