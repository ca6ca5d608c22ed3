"""Small tokenizers on bytes, trained or built here, for the tests."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "Step one.\n\nThe sum is 12.\n\nSo the answer is 12.\n\n\n",
    "naïve café – 数学 🙂\n\n",
    "a\nb\n\nc \n \nd\n",
] * 8


def byte_level(split_words: bool) -> PreTrainedTokenizerFast:
    """A small byte-level BPE tokenizer; without word splitting its tokens run over blank lines, such as ".\n\nThe"."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split_words)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def byte_fallback() -> PreTrainedTokenizerFast:
    """A small tokenizer in the manner of SentencePiece: unknown characters fall back to byte tokens such as <0xE2>."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"<unk>": 256, "▁": 257, "<|end|>": 258}
    vocabulary |= {character: 259 + index for index, character in enumerate("abcdeThns.\n")}
    model = models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
