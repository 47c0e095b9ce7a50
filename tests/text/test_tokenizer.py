"""What the tokenizers of Hugging Face say of their ids."""

from __future__ import annotations

import dataclasses
from typing import Any

import jaxeval as je
from tests.text.network import model


class Tokenizer:
    """The attributes of a Hugging Face tokenizer that say what its ids mean."""

    def __init__(self, mask: Any, pad: Any, special: Any, unk: Any, eos: Any = None):
        self.mask_token_id, self.pad_token_id = mask, pad
        self.all_special_ids, self.unk_token_id, self.eos_token_id = special, unk, eos


def test_tokens_of_a_tokenizer():
    bert = model(tokens=Tokenizer(103, 0, [100, 102, 0, 101, 103], 100)).tokens
    assert bert == je.Tokens(None, 103, 0, (102, 101), 100)
    left = Tokenizer(103, 0, [100, 102, 0, 101, 103], 100)
    left.padding_side = "left"
    assert model(tokens=left).tokens == dataclasses.replace(bert, padding_side="left")
    # GPT-2 names the end of a text as its unknown token, too.
    gpt = model(tokens=Tokenizer(None, None, [50256], 50256, 50256)).tokens
    assert gpt == je.Tokens(None, None, None, (50256,), 50256)
