"""A word-level Hugging Face tokenizer over a lexicon's vocabulary. The only importer of `transformers` here."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from behemoth_data.lexicon import END, PADDING, UNKNOWN, Lexicon


def build_tokenizer(lexicon: Lexicon) -> PreTrainedTokenizerFast:
    """A tokenizer that gives every token of the lexicon its own id, and saves and loads with transformers alone.

    It adds nothing to what it is given: append <|endoftext|> where a sentence ends. A word that the world
    does not have becomes <|unknown|>. Of texts that are padded, the shorter ones are padded on the left.
    """
    tokenizer = Tokenizer(models.WordLevel(dict(lexicon.token_ids), unk_token=UNKNOWN))
    split = pre_tokenizers.WhitespaceSplit()
    if lexicon.config.surface == "natural":
        # Names are letters only, so that all punctuation is the templates'; the decoder puts none after a space.
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.Punctuation("isolated")])
        tokenizer.decoder = decoders.Sequence([decoders.WordPiece(cleanup=True), decoders.Replace(" :", ":")])
    else:
        tokenizer.pre_tokenizer = split
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=PADDING,
        unk_token=UNKNOWN,
        padding_side="left",  # a prompt must end where its answer begins
        model_input_names=["input_ids", "attention_mask"],  # by default, version 4 has a third, which GPT-NeoX refuses
        clean_up_tokenization_spaces=False,
    )
