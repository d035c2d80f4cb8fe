"""Forward passes of a vision-language model over many rows at once: encode images, extend rows, decode one token each.

This is the only module that knows how the model is called. It calls the language model below the wrapper that
`generate` uses, because that wrapper keeps rotary offsets of one batch in the model and so cannot serve rows that come
and go; positions come from the model's own `get_rope_index` and are passed in. Sampling, texts and requests are
elsewhere.

Padding never changes a result: the past of a row is padded on the left and its new tokens on the right, so cached and
new tokens stay one contiguous run; masked positions get −inf and so exactly no weight.

Shapes: R rows, S new tokens, C columns (past and new), V vocabulary, E embedding width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from genrm.engines.architecture import VisionLanguageModel
from genrm.engines.kv_cache import CacheShape, RowCache, Run, RunningRows
from genrm.engines.lora import Adapter, AdapterHooks
from genrm.errors import ModelLoadError


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Tokens of one row to be computed on top of what is cached of it.

    ids: at least one token, images already expanded to one placeholder per image token. positions: (3, len(ids)),
    int64, on the CPU. past: the tokens before, None at a row's beginning. image_features: (image tokens in ids, E).
    adapter: what the row is computed with, its past included.
    """

    ids: Sequence[int]
    positions: Tensor
    past: Run | None = None
    image_features: Tensor | None = None
    adapter: Adapter | None = None

    @property
    def num_past(self) -> int:
        """Cached tokens before this segment."""
        return self.past.length if self.past else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Extended:
    """A row after `Forward.extend`: its cached tokens, past included, and the logits (V,) float32 of the next one."""

    run: Run
    logits: Tensor


def find_positions(model: VisionLanguageModel, ids: Sequence[int], grids: Tensor | None) -> Tensor:
    """Rotary positions (3, len(ids)) of a whole prompt, int64, on the CPU. grids: (images, 3), None without images.

    Text that follows continues at their maximum + 1 in all three axes.
    """
    ids_RS = torch.tensor([ids])
    is_image_RS = (ids_RS == model.config.image_token_id).int()
    positions, _ = model.model.get_rope_index(ids_RS, mm_token_type_ids=is_image_RS, image_grid_thw=grids)
    found: Tensor = positions[:, 0]
    return found


class Forward:
    """Runs the passes of one loaded model. To be used from one thread, inside `torch.inference_mode`.

    model: a `…ForConditionalGeneration` of the Qwen2-VL family. max_tokens: most tokens of one pass, padding included;
    more rows or a longer row are cut into several passes. A single image is always one pass.
    """

    def __init__(self, model: VisionLanguageModel, *, max_tokens: int) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self._embed = model.get_input_embeddings()
        self._language_model = model.model.language_model
        self._image_token_id: int = model.config.image_token_id
        self._padding_id = 1 if self._image_token_id == 0 else 0
        self._merge_area: int = model.config.vision_config.spatial_merge_size**2
        self._device: torch.device = model.device
        self._adapters = AdapterHooks(model, self._device)
        self._cache = RowCache()
        self.cache_shape = self._probe_cache_shape()

    def encode_images(
        self, pixel_values: Sequence[Tensor], grids: Sequence[Tensor], adapters: Sequence[Adapter | None] = ()
    ) -> list[Tensor]:
        """Features of several lots of images.

        pixel_values: per lot (patches, values of a patch), as the image processor makes them. grids: per lot (images,
        3), in patches. adapters: per lot, none by default; every pass has one, as patches of lots are no rows. Returns
        per lot (image tokens, E), the images in their order.
        """
        sizes = [len(pixels) // self._merge_area for pixels in pixel_values]
        lots_by_adapter: dict[Adapter | None, list[int]] = {}
        for lot in range(len(sizes)):
            lots_by_adapter.setdefault(adapters[lot] if adapters else None, []).append(lot)
        features: dict[int, Tensor] = {}
        for adapter, own in lots_by_adapter.items():
            for lots in _chunks([(sizes[lot], lot) for lot in own], self._max_tokens):
                with self._adapters.applied([adapter]):
                    output = self._model.model.get_image_features(
                        torch.cat([pixel_values[lot] for lot in lots]).to(self._device),
                        torch.cat([grids[lot] for lot in lots]).to(self._device),
                    )
                found = torch.cat(tuple(output.pooler_output)).split([sizes[lot] for lot in lots])
                features |= zip(lots, found, strict=True)
        return [features[lot] for lot in range(len(sizes))]

    def cut(self, whole: Segment, start: int, stop: int, *, past: Run | None) -> Segment:
        """The tokens [start, stop) of a segment, with the image features that belong to them, on top of `past`."""
        features = whole.image_features
        if features is not None:
            first = whole.ids[:start].count(self._image_token_id)
            features = features[first : first + whole.ids[start:stop].count(self._image_token_id)]
        return Segment(
            ids=whole.ids[start:stop],
            positions=whole.positions[:, start:stop],
            past=past,
            image_features=features,
            adapter=whole.adapter,
        )

    def extend(self, segments: Sequence[Segment]) -> list[Extended]:
        """Compute the segments, in few padded passes of rows of similar length. Results in the order given."""
        segments = [self._shorten(segment) for segment in segments]
        extended: dict[int, Extended] = {}
        order = sorted(range(len(segments)), key=lambda index: (len(segments[index].ids), segments[index].num_past))
        for chunk in _chunks([(len(segments[index].ids), index) for index in order], self._max_tokens):
            extended |= zip(chunk, self._extend_together([segments[index] for index in chunk]), strict=True)
        return [extended[index] for index in range(len(segments))]

    def read(self, segments: Sequence[Segment]) -> Iterator[tuple[int, Tensor]]:
        """As `extend`, with the logits behind every token of a segment and nothing kept: the segment's number and
        (len(ids), V), float32, one segment after another, since a vocabulary is too wide to hold those of all.

        Each must fit one pass. Shorter ones come first.
        """
        order = sorted(range(len(segments)), key=lambda index: len(segments[index].ids))
        for chunk in _chunks([(len(segments[index].ids), index) for index in order], self._max_tokens):
            members = [segments[index] for index in chunk]
            _, hidden_RSE = self._run_together(members)
            for row, index in enumerate(chunk):
                segment = segments[index]
                with self._adapters.applied([segment.adapter]):
                    logits_1SV = self._logits(hidden_RSE[row : row + 1, : len(segment.ids)])
                yield index, logits_1SV[0]

    def decode(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        rows: RunningRows,
        adapters: Sequence[Adapter | None] = (),
    ) -> Tensor:
        """One step: append a token to every row. adapters: per row, none by default. Returns the logits of what comes
        next, (R, V), float32.
        """
        mask = rows.begin_step()
        ids_RS = torch.tensor(ids, device=self._device)[:, None]
        positions_3RS = torch.tensor(positions, device=self._device)[None, :, None].expand(3, -1, -1)
        with self._adapters.applied(adapters):
            hidden = self._run(self._embed(ids_RS), mask, positions_3RS, rows.cache)
            rows.end_step()
            return self._logits(hidden[:, -1])

    def _shorten(self, segment: Segment) -> Segment:
        """The end of a segment, at most as many tokens as fit one pass; those before are computed."""
        start, past = 0, segment.past
        while len(segment.ids) - start > self._max_tokens:
            [extended] = self._extend_together([self.cut(segment, start, start + self._max_tokens, past=past)])
            start, past = start + self._max_tokens, extended.run
        return self.cut(segment, start, len(segment.ids), past=past) if start else segment

    def _extend_together(self, segments: list[Segment]) -> list[Extended]:
        num_past = max(segment.num_past for segment in segments)
        block, hidden_RSE = self._run_together(segments)
        rows = torch.arange(len(segments), device=self._device)
        last = torch.tensor([len(segment.ids) - 1 for segment in segments], device=self._device)
        with self._adapters.applied([segment.adapter for segment in segments]):
            logits_RV = self._logits(hidden_RSE[rows, last])
        return [
            Extended(
                run=Run(block, row, num_past - segment.num_past, segment.num_past + len(segment.ids)),
                logits=logits_RV[row],
            )
            for row, segment in enumerate(segments)
        ]

    def _run_together(self, segments: list[Segment]) -> tuple[Tensor, Tensor]:
        """One pass. Returns the block with the keys and values of past and new tokens, every past ending at the same
        column, and the hidden states (R, S, E).
        """
        num_rows = len(segments)
        num_past = max(segment.num_past for segment in segments)
        num_new = max(len(segment.ids) for segment in segments)
        block = self.cache_shape.new_block(rows=num_rows, columns=num_past + num_new)
        ids_RS = torch.full((num_rows, num_new), self._padding_id)
        positions_3RS = torch.zeros(3, num_rows, num_new, dtype=torch.long)
        mask_R1SC = torch.zeros(num_rows, 1, num_new, num_past + num_new, dtype=self.cache_shape.dtype)
        mask_R1SC[..., num_past:] = torch.full((num_new, num_new), -torch.inf).triu(1)
        for row, segment in enumerate(segments):
            ids_RS[row, : len(segment.ids)] = torch.tensor(segment.ids)
            positions_3RS[:, row, : len(segment.ids)] = segment.positions
            mask_R1SC[row, :, :, : num_past - segment.num_past] = -torch.inf
            if segment.past:
                block[:, row, :, num_past - segment.num_past : num_past] = segment.past.tensor()

        embeddings = self._embed_with_images(ids_RS.to(self._device), segments)
        self._cache.aim(block, num_rows=num_rows, start=0, column=num_past, num_new=num_new)
        with self._adapters.applied([segment.adapter for segment in segments]):
            hidden = self._run(embeddings, mask_R1SC.to(self._device), positions_3RS.to(self._device), self._cache)
        return block, hidden

    def _embed_with_images(self, ids_RS: Tensor, segments: list[Segment]) -> Tensor:
        embeddings: Tensor = self._embed(ids_RS)
        features = [segment.image_features for segment in segments if segment.image_features is not None]
        if features:
            embeddings[ids_RS == self._image_token_id] = torch.cat(features).to(embeddings.dtype)
        return embeddings

    def _run(self, embeddings: Tensor, mask_R1SC: Tensor, positions_3RS: Tensor, cache: RowCache) -> Tensor:
        hidden: Tensor = self._language_model(
            inputs_embeds=embeddings,
            attention_mask=mask_R1SC,
            position_ids=positions_3RS,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return hidden

    def _logits(self, hidden_RE: Tensor) -> Tensor:
        logits_RV: Tensor = self._model.lm_head(hidden_RE)
        return logits_RV.float()

    @torch.inference_mode()
    def _probe_cache_shape(self) -> CacheShape:
        """What one token leaves in a cache. Raises ModelLoadError if that differs between layers."""
        cache = DynamicCache()
        ids = torch.full((1, 1), self._padding_id, device=self._device)
        self._language_model(inputs_embeds=self._embed(ids), past_key_values=cache, use_cache=True)
        layers: list[Any] = list(cache.layers)  # of layers that keep no keys, transformers knows at run time
        shapes = {tuple(plane.shape) for layer in layers for plane in (layer.keys, layer.values)}
        if len(shapes) != 1:
            raise ModelLoadError(
                f"The model caches keys and values of {len(shapes)} different shapes; the engine needs one shape for "
                "all layers. Serve this model with vLLM and connect to it."
            )
        _, num_heads, _, head_width = shapes.pop()
        keys = layers[0].keys
        return CacheShape(
            num_layers=len(cache.layers),
            num_heads=num_heads,
            head_width=head_width,
            dtype=keys.dtype,
            device=keys.device,
        )


def _chunks(sized: Sequence[tuple[int, int]], limit: int) -> Iterator[list[int]]:
    """Split `(size, index)` pairs, in their order, into index lists whose padded area stays within `limit`."""
    chunk: list[int] = []
    longest = 0
    for size, index in sized:
        if chunk and max(longest, size) * (len(chunk) + 1) > limit:
            yield chunk
            chunk, longest = [], 0
        chunk.append(index)
        longest = max(longest, size)
    if chunk:
        yield chunk
