"""Scripts without blanks: characters as tokens, a default tokenizer that can cut them, text cut as the data was."""

from __future__ import annotations

import random
import unicodedata

import pytest
from transformers import AutoTokenizer

from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.data.prepare import prepare
from pipeline.data.sources import locate
from pipeline.data.text_stats import script_shares
from pipeline.data.tokenization.segmentation import cutter, cutting
from pipeline.data.tokenization.tokenizer_choice import default_for
from pipeline.data.tokenization.tokenizers import train
from pipeline.data.tokenization.word_patterns import Spelling, cut, spelling
from pipeline.inference import predict
from pipeline.run import train as run
from pipeline.tasks.next_word import NextWord
from pipeline.tasks.sentiment import Sentiment

GOOD, BAD = ["味道很好", "服务热情", "房间干净", "值得再来"], ["味道很差", "服务冷淡", "房间太脏", "不会再来"]
EVERY = frozenset({"Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar"})
# A sentence in each script, with the entity that its tags mark.
SENTENCES = {"Han": "我去东京。", "Hiragana": "ぼくはとうきょう", "Thai": "ผมไปเชียงใหม่", "Khmer": "ខ្ញុំទៅភ្នំពេញ"}


def hotel_reviews(folder, rows: int = 60):
    generator = random.Random(3)
    lines = ["text,label"]
    for number in range(rows):
        words = GOOD if number % 2 else BAD
        lines.append("".join(generator.sample(words, 3)) + f"{number},{'good' if number % 2 else 'bad'}")
    file = folder / "hotels.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "text", ["我爱北京 天安门", "สวัสดี ชาวโลก", "नमस्ते दुनिया", "Ein süßer film!", "👩‍👩‍👧 ok", "a\u0301 e\u0302"]
)
def test_characters_decode_to_the_text_in_every_script(text, tmp_path):
    train("character", [text] * 2, Data("x")).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert len(ids) == len(unicodedata.normalize("NFC", text))
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


def test_a_run_of_blanks_is_one_token_and_outer_ones_are_dropped():
    tokenizer = train("character", ["a b"] * 2, Data("x"))
    assert tokenizer.tokenize(" a \n\t b\u3000") == ["a", " ", "b"]
    assert tokenizer.tokenize("  ") == []


def test_characters_follow_the_settings_of_the_vocabulary():
    texts = ["Aab", "cab"]
    assert set(train("character", texts, Data("x")).get_vocab()) == {"[PAD]", "[UNK]", "[EOS]", "a", "b"}
    lower = train("character", texts, Data("x", lowercase=True, min_frequency=3))
    assert set(lower.get_vocab()) == {"[PAD]", "[UNK]", "[EOS]", "a"}
    assert lower.convert_ids_to_tokens(lower("AcA")["input_ids"]) == ["a", "[UNK]", "a"]


def test_a_word_of_a_list_has_a_token_for_each_of_its_characters():
    tokenizer = train("character", ["สวัสดี", "ครับ"] * 2, Data("x"), pretokenized=True)
    encoded = tokenizer(["ครับ", "สวัส"], is_split_into_words=True)
    assert encoded.word_ids() == [0] * 4 + [1] * 4
    assert tokenizer("ครับ สวัส")["input_ids"] == encoded["input_ids"]  # blanks are no words of a list


def test_a_blank_is_among_the_next_characters(tmp_path):
    (tmp_path / "lines.txt").write_text("ab ab ab\n" * 60)
    model = Recurrent(hidden_size=16, embedding_size=16, dropout=0.0)
    training = Train(epochs=8, batch_size=2, output_dir=str(tmp_path / "out"))
    data = Data(str(tmp_path / "lines.txt"), tokenizer="character", max_length=8)
    run(Recipe("lines", "next_word", data, model, Optim(3e-2), training))
    (answer,) = predict(str(tmp_path / "out"), ["ab"], generate=6)
    assert answer["next"][0]["word"] == " "
    assert answer["continuation"] == "ab ab"


def test_next_word_can_read_characters(tmp_path):
    (tmp_path / "poem.txt").write_text("床前明月光\n疑是地上霜\n举头望明月\n低头思故乡\n" * 10, encoding="utf-8")
    prepared = prepare(locate(Data(str(tmp_path / "poem.txt"))), NextWord(), "character")
    assert prepared.tokenizer.decode(prepared.splits["train"][0]["input_ids"]) == "床前明月光[EOS]"


@pytest.mark.parametrize(
    ("scripts", "kind"),
    [
        ({"Han": 1.0}, "character"),
        ({"Hiragana": 0.5, "Han": 0.3, "Katakana": 0.2}, "character"),
        ({"Latin": 0.75, "Han": 0.25}, "character"),
        ({"Thai": 0.9, "Latin": 0.1}, "bpe"),
        ({"Lao": 1.0}, "bpe"),
        ({"Khmer": 0.6, "Myanmar": 0.4}, "bpe"),
        ({"Latin": 0.9, "Han": 0.1}, "word"),
        ({"Hangul": 0.95, "Han": 0.05}, "word"),  # Korean is written with blanks
        ({}, "word"),
    ],
)
def test_the_default_tokenizer_is_one_that_can_cut_the_script(scripts, kind):
    chosen, why = default_for("word", scripts)
    assert chosen == kind
    assert (why is None) == (kind == "word")
    assert default_for("wordpiece", scripts) == ("wordpiece", None)


def test_the_choice_is_among_the_notes_and_only_a_default_is_replaced(tmp_path):
    source = locate(Data(str(hotel_reviews(tmp_path))))
    chosen = prepare(source, Sentiment(), "word", may_change=True)
    assert chosen.report["notes"][-1] == (
        "tokenizer character, because 100% of the letters are Han, which is written without blanks; set data.tokenizer"
        " to choose another"
    )
    assert chosen.report["tokenizer"] == "character"
    assert chosen.report["encoded"]["test"]["unknown_share"] < 0.1
    insisted = prepare(source, Sentiment(), "word")
    assert insisted.report["tokenizer"] == "word"
    (note,) = [note for note in insisted.report["notes"] if "unknown" in note]
    assert note.endswith(
        "are unknown to the tokenizer word; set data.tokenizer bpe or character, or data.min_frequency 1 if there are"
        " few training rows"
    )


def test_scripts_are_named_after_what_is_written_in_them():
    assert script_shares(["漢字", "ｶﾅ", "Ａ", "สวั"]) == {
        "Han": pytest.approx(2 / 7), "Katakana": pytest.approx(2 / 7), "Thai": pytest.approx(2 / 7),
        "Latin": pytest.approx(1 / 7),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("昨天王伟去了上海。", list("昨天王伟去了上海。")),
        ("我用iPhone 15，花了3.5元……", ["我", "用", "iPhone", "15", "，", "花", "了", "3.5", "元", "…", "…"]),
        ("见http://t.co/a吧", ["见", "http://t.co/a", "吧"]),
        ("カードで", ["カ", "ー", "ド", "で"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("a well-made film!!!", ["a", "well-made", "film", "!!!"]),
    ],
)
def test_letters_of_scripts_without_blanks_are_words_and_keep_their_marks(text, words):
    assert [text[start:end] for start, end in cut(text, EVERY)] == words


def test_each_letter_and_digit_is_a_word_if_the_data_was_written_so():
    text = "第12届 NBA"
    assert [text[start:end] for start, end in cut(text, EVERY, characters=True)] == list("第12届NBA")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["我", "去", "东", "京", "NBA", "2019"], Spelling(frozenset({"Han"}))),
        (["我", "去", "东", "京", "N", "B", "A", "2"], Spelling(frozenset({"Han"}), characters=True)),
        (["我", "去", "东京"], Spelling()),
        (["我", "去"] * 100 + ["东京"], Spelling(frozenset({"Han"}))),  # one mistake
        (["I", "saw", "Ann"], Spelling()),
        (["ที่", "นี่"], Spelling(frozenset({"Thai"}))),
    ],
)
def test_how_the_data_is_written_is_seen_from_its_words(words, found):
    assert spelling(words) == found


@pytest.mark.parametrize("script", SENTENCES)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in ("word", "whitespace", "wordpiece", "bpe", "character")),
        *((kind, {"characters": True}) for kind in ("word", "whitespace")),
    ],
)
def test_running_text_is_cut_into_characters_if_the_data_was(kind, options, script, tmp_path):
    text = SENTENCES[script]
    words = [text[start:end] for start, end in cut(text, EVERY)]
    train(kind, words * 3, Data("x"), pretokenized=True, **options).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True)
    assert script in cutting(tokenizer).scripts
    given = tokenizer(words, is_split_into_words=True)["input_ids"]
    assert tokenizer(text)["input_ids"] == given


def test_words_are_kept_whole_if_the_data_has_whole_ones():
    for kind in ("word", "wordpiece", "bpe"):
        words = ["ผม", "ไป", "เชียงใหม่", "กับ", "เพื่อน"]
        assert cutting(train(kind, words * 2, Data("x"), pretokenized=True)) == Spelling()


def test_wordpiece_reads_chinese_characters_one_by_one_as_bert_does():
    tokenizer = train("wordpiece", ["我爱北京 well-made"] * 2, Data("x"))
    assert tokenizer.tokenize("京北 made") == ["京", "北", "made"]


THAI = ["ผม", "ไป", "เชียงใหม่", "เชียง", "กับ", "เพื่อน", "และ", "Facebook"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ผมไปเชียงใหม่กับเพื่อน", ["ผม", "ไป", "เชียงใหม่", "กับ", "เพื่อน"]),
        ("ผม ไป เชียงใหม่", ["ผม", "ไป", "เชียงใหม่"]),  # as in the training data
        ("ผมไปภูเก็ตกับเพื่อน", ["ผม", "ไป", "ภูเก็ต", "กับ", "เพื่อน"]),  # an unknown name between known words
        ("ผมไปFacebookกับเพื่อน", ["ผม", "ไป", "Facebook", "กับ", "เพื่อน"]),
        ("a well-made film, ok", ["a", "well-made", "film", ",", "ok"]),
        ("ไปไป", ["ไป", "ไป"]),
        ("", []),
    ],
)
@pytest.mark.parametrize(("kind", "options"), [("word", {}), ("word", {"characters": True}), ("wordpiece", {})])
def test_text_without_blanks_is_cut_into_the_words_of_the_vocabulary(text, words, kind, options, tmp_path):
    train(kind, THAI * 2, Data("x"), pretokenized=True, **options).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True)
    assert [text[start:end] for start, end in cutter(tokenizer)(text)] == words


def test_a_mark_stays_with_its_letter_when_words_are_looked_up():
    tokenizer = train("word", ["กา", "กิน", "ก", "นา"] * 2, Data("x"), pretokenized=True)
    assert cutter(tokenizer)("กินนา") == [(0, 3), (3, 5)]
    assert cutter(tokenizer)("กี่นา") == [(0, 3), (3, 5)]  # not the word of one letter, and its marks after it


def test_a_pretrained_tokenizer_of_another_language_is_reported(tmp_path):
    rows = [f"ភ្នំពេញស្អាត{number},good\nថ្ងៃនេះភ្លៀង{number},bad" for number in range(30)]
    (tmp_path / "khmer.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    prepared = prepare(locate(Data(str(tmp_path / "khmer.csv"), max_length=64)), Sentiment(), "sample:minilm")
    (note,) = [note for note in prepared.report["notes"] if "unknown" in note]
    assert note.endswith(
        "are unknown to the tokenizer sample:minilm; it was made for other texts; choose a model or a tokenizer for the"
        " language of the data"
    )
