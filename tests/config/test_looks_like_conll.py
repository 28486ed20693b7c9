"""Files of words and tags are recognised by their content, and other text is not taken for them."""

from __future__ import annotations

import pytest

from pipeline.config.looks_like_conll import looks_like_conll
from pipeline.config.tag_forms import Form, form_of

CONLL = {
    "blanks": "Ada B-PER\nsings O\n\nOslo B-LOC\nsleeps O\n",
    "tabs": "Ada\tB-PER\nsings\tO\n\nOslo\tB-LOC\nsleeps\tO\n",
    "windows": "Ada B-PER\r\nsings O\r\n\r\nOslo B-LOC\r\nsleeps O\r\n",
    "numbered": "#\thttp://a.b/c [2009]\n1\tAda\tB-PER\tO\n2\tsings\tO\tO\n\n1\tOslo\tB-LOC\tO\n",
    "header": "word\ttag\nAda\tB-PER\nsings\tO\n\n" + "Oslo\tB-LOC\nsleeps\tO\n\n" * 9,
    "tags first": "B-PER\tAda\nO\tsings\n\nB-LOC\tOslo\n",
    "documents": "-DOCSTART- -X- -X- O\n\nAda NNP I-NP B-PER\nsings VB I-VP O\n\n",
    "underscore": "Ada B_PER\nsings O\n\nOslo B_LOC\nsleeps O\n\n",
    "suffix": "Ada PER-B\nsings O\n\nOslo LOC-B\nsleeps O\n\n",
    "letters": "Ada\tB\nLovelace\tI\nsings\tO\n\nOslo\tB\nsleeps\tO\n\n",
    "types": "Ada\tperson-artist\nsings\tO\n\nOslo\tlocation-GPE\nsleeps\tO\n\n",
    "no entity": "it O\nrains O\n\nit O\nsnows O\n\n",
    "one mistake": "Ada B-PER\nsings O\n\nOslo B-LOC\nsleeps O\n\n" * 9 + "Ada\n\n",
    "one sentence": "Ada B-PER\nsings O\nin O\nOslo B-LOC\n",
    "blanks as words": "A\tB-PER\n \tO\nb\tO\n \tO\nc\tO\n\nd\tO\n",
    "commas": "Ada,B-PER\nsings,O\n\nOslo,B-LOC\nsleeps,O\n\n",
    "cut off": "Ada B-PER\nsings O\n\nOslo B-LOC\nsleeps O\n\nOs",
}
OTHER = {
    "running text": "It rains in Oslo today .\n\nAda sings .\nNobody listens to her at all .\n",
    "two words a line": "good morning\ngood evening\n\ngood night\nsleep well\n",
    "table": "text\tlabel\nAda sings\tgood\nit rains\tbad\n\n",
    "table of lists": "tokens\ttags\nAda sings\tB-PER O\nit rains\tO O\nOslo sleeps\tB-LOC O\n",
    "table of words": "sentence\tword\ttag\n1\tAda\tB-PER\n1\tsings\tO\n" + "2\tOslo\tB-LOC\n2\tsleeps\tO\n" * 9,
    "table with ids": "id\ttext\tlabel\n" + "".join(f"S-{n}\tAda sings\tgood\n" for n in range(20)),
    "csv": "text,label\nAda sings,1\nit rains,0\n",
    "json": '{"text": "Ada sings"}\n{"text": "it rains"}\n',
    "words and parts of speech": "Ada NNP\nsings VB\n\nOslo NNP\nsleeps VB\n\n",
    "words and numbers": "Ada 1\nsings 0\n\nOslo 2\nsleeps 0\n\n",
    "one word a line": "Ada\nsings\n\nOslo\nsleeps\n",
    "nothing": "",
    "blank lines": "\n\n\n",
}


@pytest.mark.parametrize("name", CONLL)
def test_words_and_tags_are_recognised(name):
    assert looks_like_conll(CONLL[name])


@pytest.mark.parametrize("name", OTHER)
def test_other_text_is_not_taken_for_words_and_tags(name):
    assert not looks_like_conll(OTHER[name])


@pytest.mark.parametrize(
    ("tags", "kind", "standard"),
    [
        (["O", "B-PER", "I-geo-loc"], "prefix", ["O", "B-PER", "I-geo-loc"]),
        (["o", "b-per", "i_geo"], "prefix", ["O", "B-per", "I-geo"]),
        (["_", "B_PER", "0"], "prefix", ["O", "B-PER", "O"]),
        (["O", "PER-B", "geo-loc_I"], "suffix", ["O", "B-PER", "I-geo-loc"]),
        (["O", "B", "I"], "letters", ["O", "B-ENT", "I-ENT"]),
        (["O", "person-artist", "LOC"], "types", ["O", "I-person-artist", "I-LOC"]),
        (["OTHER", "OTHER", "OTHER", "PER", "LOC"], "types", ["O", "O", "O", "I-PER", "I-LOC"]),
        (["O", "PER", "other"], "types", ["O", "I-PER", "I-other"]),
        (["O", "B-PER", "I-PER", "VBZ"], "prefix", ["O", "B-PER", "I-PER", None]),
        (["O"], "prefix", ["O"]),
    ],
)
def test_the_form_of_tags_is_decided_over_all_of_them(tags, kind, standard):
    form = form_of({tag: tags.count(tag) for tag in tags})
    assert form is not None
    assert form.kind == kind
    assert [form.standard(tag) for tag in tags] == standard


def test_what_has_no_form_of_tags_is_no_tag():
    for values in (["NNP", "VB"], ["Ada", "sings"], ["0", "1", "2"], [*map(str, range(1000)), "O"]):
        assert form_of(dict.fromkeys(values, 1)) is None
    assert Form("types", frozenset({"O"})).standard("3") is None
