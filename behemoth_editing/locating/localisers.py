"""What is said of where a fact is in a model: a number for each layer, by causes, by gradients and by a probe.

Axis letters: n facts, whose prompts are of one length; T tokens of a prompt; L layers; D keys' width (the MLP's inner
width); H hidden width; C objects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import log_softmax
from transformers import PreTrainedModel

from behemoth_data.settings import check
from behemoth_editing.architecture import hidden_of, layers_of, mlp_output, recorded
from behemoth_editing.attacks.readout import fit_probe
from behemoth_editing.locating.late import mlp_of
from behemoth_models.knowledge import evaluating, evaluation_mode, widened

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

NOISE = 3.0  # of causal tracing, in deviations of the subjects' embeddings
SAMPLES = 10  # of the noise, for each fact
POINTS = 20  # between no activation and the whole
LEAST_SHARE = 0.2  # of the largest attribution, for a neuron to count
_ROWS = 512  # prompts in a batch


class Asked(NamedTuple):
    """Facts that a model is asked: prompts of one length, and what they are answered with."""

    tokens: torch.Tensor  # [n, T] on the model's device
    answers: torch.Tensor  # [n] first tokens of the objects
    tails: Int64  # [n] objects
    subject: slice  # places of the subject's tokens
    deviation: float  # of the entries of the subjects' embeddings, over all facts of the relation that are asked
    num_objects: int  # C

    def some(self, places: Sequence[int]) -> Asked:
        """The facts at these places."""
        chosen = list(places)
        return self._replace(tokens=self.tokens[chosen], answers=self.answers[chosen], tails=self.tails[chosen])

    def parts(self, size: int) -> Iterator[Asked]:
        """All facts, so many at a time."""
        every = range(len(self.tails))
        for start in every[::size]:
            yield self.some(every[start : start + size])


def tracing(model: PreTrainedModel, asked: Asked) -> Floats:
    """What each layer's MLP restores of the answer's probability [n, L], at the place where it restores most.

    The subject's embeddings are noised; then the output of one MLP at one token is put back to what it is without
    noise. The indirect effect is what that adds to the probability of the answer's first token, the mean over samples
    of the noise. Every fact has noise of its own, the same for all layers and places; theirs is the same for all facts.
    To take the place where most is restored is ours: they look at a table of places.
    Source: Meng et al., "Locating and editing factual associations in GPT", 2022, section 2.1, with a window of one
    layer, and their experiments/causal_trace.py (trace_with_patch; noise of three deviations of the embeddings of
    subjects, ten samples).
    """
    return _traced(model, asked, mlp_of, range(asked.subject.start, asked.tokens.shape[1]))


def tracing_states(model: PreTrainedModel, asked: Asked) -> Floats:
    """The same for what each layer puts out as a whole, at the subject's last token [n, L]."""
    return _traced(model, asked, lambda model, layer: layers_of(model)[layer], [asked.subject.stop - 1])


def _traced(
    model: PreTrainedModel, asked: Asked, part: Callable[[PreTrainedModel, int], nn.Module], places: Sequence[int]
) -> Floats:
    found = []
    with evaluating(model) as model:
        parts = [part(model, layer) for layer in range(len(layers_of(model)))]
        for some, noise in _noise(model, asked):
            tokens = some.tokens.repeat_interleave(SAMPLES, 0)
            with contextlib.ExitStack() as hooks:
                clean = [hooks.enter_context(recorded(one)) for one in parts]
                _last(model, some.tokens)
            with _changed(model.get_input_embeddings(), noise):
                lost = _probability(model, tokens, some.answers)
                restored = []
                for one, (states,) in zip(parts, clean, strict=True):
                    wanted = states.repeat_interleave(SAMPLES, 0)
                    with_each = []
                    for place in places:
                        with _changed(one, _put(wanted, place)):
                            with_each.append(_probability(model, tokens, some.answers) - lost)
                    restored.append(torch.stack(with_each).amax(0))
            found.append(torch.stack(restored, 1).cpu().double().numpy())
    return np.concatenate(found)


def _noise(model: PreTrainedModel, asked: Asked) -> Iterator[tuple[Asked, Callable[..., Any]]]:
    """Facts, some at a time, with a hook that adds noise to the embeddings of their subjects, sample by sample."""
    drawn = torch.Generator().manual_seed(0)
    width = int(model.config.hidden_size)
    for some in asked.parts(max(1, _ROWS // SAMPLES)):
        size = (len(some.tokens) * SAMPLES, asked.subject.stop - asked.subject.start, width)
        noise = NOISE * asked.deviation * torch.randn(size, generator=drawn).to(some.tokens.device)

        def add(_module: nn.Module, _inputs: Any, output: torch.Tensor, noise: torch.Tensor = noise) -> torch.Tensor:
            changed = output.clone()
            changed[:, asked.subject] += noise
            return changed

        yield some, add


def _put(wanted: torch.Tensor, place: int) -> Callable[..., Any]:
    """A hook that puts these states [n, T, H] back at one place."""

    def put(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        states = hidden_of(output).clone()
        states[:, place] = wanted[:, place]
        return (states, *output[1:]) if isinstance(output, tuple) else states

    return put


def _probability(model: PreTrainedModel, tokens: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """The probability [n] of the answers after noised prompts, the mean over samples."""
    likely = _last(model, tokens).softmax(-1)
    return likely.reshape(len(answers), -1, likely.shape[1]).mean(1).gather(1, answers[:, None])[:, 0]


def ablation(model: PreTrainedModel, asked: Asked) -> Floats:
    """What the answer loses in log-probability [n, L], nats, where a layer's MLP puts out the mean over these facts.

    Source: mean ablation, as in Wang et al., "Interpretability in the wild", 2023, section 2.1, whose means are over
    other prompts of one form; of a whole MLP here, at all places at once.
    """
    with evaluating(model) as model:
        parts = [mlp_of(model, layer) for layer in range(len(layers_of(model)))]
        means = [torch.zeros(()) for _ in parts]
        for some in asked.parts(_ROWS):
            with contextlib.ExitStack() as hooks:
                outputs = [hooks.enter_context(recorded(one)) for one in parts]
                _last(model, some.tokens)
            share = len(some.tokens) / len(asked.tokens)
            means = [mean + share * one.mean(0) for mean, (one,) in zip(means, outputs, strict=True)]
        found = []
        for some in asked.parts(_ROWS):
            before = _log_likelihood(model, some)
            losses = []
            for one, mean in zip(parts, means, strict=True):
                with _changed(one, lambda _module, _inputs, output, mean=mean: mean.expand_as(output)):
                    losses.append(before - _log_likelihood(model, some))
            found.append(torch.stack(losses, 1).cpu().double().numpy())
    return np.concatenate(found)


def output_norm(model: PreTrainedModel, asked: Asked) -> Floats:
    """The mean norm of what a layer's MLP puts out [n, L], over the tokens from the subject on.

    It knows nothing of answers: whoever sees no more than this has seen that a layer is louder than others.
    """
    found = []
    with evaluating(model) as model:
        for some in asked.parts(_ROWS):
            with contextlib.ExitStack() as hooks:
                layers = range(len(layers_of(model)))
                outputs = [hooks.enter_context(recorded(mlp_of(model, layer))) for layer in layers]
                _last(model, some.tokens)
            norms = [one[:, asked.subject.start :].norm(dim=2).mean(1) for (one,) in outputs]
            found.append(torch.stack(norms, 1).cpu().double().numpy())
    return np.concatenate(found)


def answer_probabilities(model: PreTrainedModel, asked: Asked) -> tuple[float, float]:
    """The mean probability of the answers' first tokens, and under the noise of causal tracing."""
    clean, noised = [], []
    with evaluating(model) as model:
        for some, noise in _noise(model, asked):
            clean.append(_log_likelihood(model, some).exp())
            with _changed(model.get_input_embeddings(), noise):
                noised.append(_probability(model, some.tokens.repeat_interleave(SAMPLES, 0), some.answers))
    return float(torch.cat(clean).mean()), float(torch.cat(noised).mean())


def gradient(model: PreTrainedModel, asked: Asked) -> Floats:
    """The norm of the gradient of each answer's negative log-likelihood [n, L] for the layer's MLP output matrix.

    A fact's gradient is the sum over its tokens of what comes back to the matrix's output times the key. All of them
    shrink as the answer's probability nears 1: it is layers of one fact that can be compared, not facts.
    """
    model = widened(model)
    return np.concatenate([_gradients(model, some) for some in asked.parts(_ROWS)])


def _gradients(model: PreTrainedModel, asked: Asked) -> Floats:
    keys: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []

    def keep(_module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        keys.append(inputs[0].detach())
        outputs.append(output if output.requires_grad else output.detach().requires_grad_(True))
        return outputs[-1]

    with evaluation_mode(model), torch.enable_grad(), contextlib.ExitStack() as hooks:
        for layer in range(len(layers_of(model))):
            hooks.enter_context(_changed(mlp_output(model, layer), keep))
        back = torch.autograd.grad(-_log_likelihood(model, asked).sum(), outputs)
    whole = [torch.einsum("nth,ntd->nhd", *pair) for pair in zip(back, keys, strict=True)]
    return torch.stack([one.flatten(1).norm(dim=1) for one in whole], 1).cpu().double().numpy()


def attributions(model: PreTrainedModel, asked: Asked, points: int = POINTS) -> Floats:
    """Integrated gradients of the answer's probability [n, L, D] for the keys of the prompt's last token.

    Keys are what goes into a layer's MLP output matrix. One layer's are scaled from nothing to what they are in equal
    steps, and the gradients are added up at the left end of each.
    Source: Dai et al., "Knowledge neurons in pretrained transformers", 2022, section 3.1, as their
    src/1_analyze_mlm.py (scaled_input) adds them up.
    """
    model, found = widened(model), []
    for some in asked.parts(_ROWS):
        layers = []
        for layer in range(len(layers_of(model))):
            steps = [_attributed(model, mlp_output(model, layer), some, point / points) for point in range(points)]
            layers.append(torch.stack(steps).mean(0).cpu().double())
        found.append(torch.stack(layers, 1).numpy())
    return np.concatenate(found)


def _attributed(model: PreTrainedModel, matrix: nn.Module, asked: Asked, share: float) -> torch.Tensor:
    """Keys of the last token times the gradient [n, D] of the answer's probability where they are this share."""
    keys: list[torch.Tensor] = []
    scaled: list[torch.Tensor] = []

    def scale(_module: nn.Module, inputs: Any) -> Any:
        given = inputs[0].detach()
        keys.append(given[:, -1])
        scaled.append((share * given[:, -1]).requires_grad_(True))
        return (torch.cat([given[:, :-1], scaled[-1][:, None]], 1), *inputs[1:])

    handle = matrix.register_forward_pre_hook(scale)
    try:
        with evaluation_mode(model), torch.enable_grad():
            (back,) = torch.autograd.grad(_log_likelihood(model, asked).exp().sum(), scaled)
    finally:
        handle.remove()
    return keys[0] * back


def neurons(model: PreTrainedModel, asked: Asked) -> Floats:
    """How many neurons of each layer [n, L] have at least a fifth of the fact's largest attribution.

    To count them by layer is ours; theirs are those that several prompts of a fact share.
    Source: Dai et al., 2022, section 3.2, threshold of their src/2_get_kn.py.
    """
    found = attributions(model, asked)
    largest = found.max(axis=(1, 2), keepdims=True)
    return np.asarray(((found >= LEAST_SHARE * largest) & (largest > 0)).sum(axis=2), np.float64)


def probe(model: PreTrainedModel, asked: Asked) -> Floats:
    """The bits about the object [n, L] that a linear probe reads behind a layer and not before it.

    A probe of each layer's output and of the embeddings, at the prompt's last token, is learned from all these facts,
    each of them left out in turn (see attacks.readout.fit_probe). They should be many.
    """
    return _gained(model, asked, asked.tokens.shape[1] - 1)


def probe_subject(model: PreTrainedModel, asked: Asked) -> Floats:
    """The same at the subject's last token."""
    return _gained(model, asked, asked.subject.stop - 1)


def _gained(model: PreTrainedModel, asked: Asked, place: int) -> Floats:
    check(len(asked.tails) >= 2, f"asked must hold at least 2 facts for a probe to learn from, got {len(asked.tails)}")
    found: list[list[Floats]] = []
    with evaluating(model) as model:
        embedding: Any = model.get_input_embeddings()
        for some in asked.parts(_ROWS):
            with contextlib.ExitStack() as hooks:
                states = [hooks.enter_context(recorded(one)) for one in (embedding, *layers_of(model))]
                _last(model, some.tokens)
            found.append([one[0][:, place].cpu().double().numpy() for one in states])
    read = [fit_probe(np.concatenate(one), asked.tails, asked.num_objects).left_out for one in zip(*found, strict=True)]
    return np.asarray(np.diff(np.stack(read, 1), axis=1), np.float64)


def _last(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Logits [n, vocabulary] of what follows the prompts."""
    logits: torch.Tensor = model(input_ids=tokens, use_cache=False).logits[:, -1].float()
    return logits


def _log_likelihood(model: PreTrainedModel, asked: Asked) -> torch.Tensor:
    """The log-probability [n] of each answer's first token."""
    return log_softmax(_last(model, asked.tokens), -1).gather(1, asked.answers[:, None])[:, 0]


@contextlib.contextmanager
def _changed(part: nn.Module, change: Callable[..., Any]) -> Iterator[None]:
    """While open, this part of the model puts out what the hook makes of its output."""
    handle = part.register_forward_hook(change)
    try:
        yield
    finally:
        handle.remove()


class Localiser(NamedTuple):
    """One way to say where facts are."""

    title: str
    says: Callable[[PreTrainedModel, Asked], Floats]  # [n, L], more where a fact is
    together: bool = False  # whether what it says of a fact depends on the others that are asked


LOCALISERS = {
    "tracing": Localiser("causal tracing, MLP", tracing),
    "tracing_states": Localiser("causal tracing, states of the subject", tracing_states),
    "ablation": Localiser("mean ablation, MLP", ablation, together=True),
    "output_norm": Localiser("norm of the MLP's output", output_norm),
    "gradient": Localiser("norm of the gradient", gradient),
    "neurons": Localiser("knowledge neurons", neurons),
    "probe": Localiser("linear probe, prompt's last token", probe, together=True),
    "probe_subject": Localiser("linear probe, subject's last token", probe_subject, together=True),
}
