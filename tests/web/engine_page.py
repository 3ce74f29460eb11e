"""The engine of a site, without its page."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page

_LOAD = """async ([address, options]) => {
  const { load } = await import(address + "assets/engine.js");
  window.model = await load(address + "model/", options);
  window.bytes = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  window.samples = (text) => new Float32Array(window.bytes(text).buffer);
  return window.model.info;
}"""
_TAG = """async ([channels, rateHz]) =>
  await window.model.tag({ channels: channels.map(window.samples), rateHz }, { name: "samples" })"""
_TAG_FILE = """async ([name, content, labels]) =>
  await window.model.tag(new File([window.bytes(content)], name), { labels })"""
_STREAM = """async ([chunks, rateHz, options]) => {
  const stream = await window.model.stream(rateHz, options);
  const updates = [];
  for (const chunk of chunks) {
    updates.push(...(await stream.push(chunk.map(window.samples))));
  }
  const end = await stream.finish();
  updates.push(...end.updates);
  return { ...end, updates: updates.map((each) => ({ ...each, scores: [...each.scores] })) };
}"""


class EnginePage:
    """A page of the site's origin on which its engine is loaded.

    Args:
        page: a new one.
        address: the site's, with a slash at its end.
        options: of ``load``.
    """

    def __init__(self, page: Page, address: str, **options: object) -> None:
        self._page = page
        page.goto(f"{address}model/site.json")  # a document that starts nothing
        self.info: dict[str, Any] = page.evaluate(_LOAD, [address, options])

    def tag(self, waveform: np.ndarray, rate_hz: int) -> dict[str, Any]:
        """Tag samples, (samples,) or (channels, samples)."""
        found: dict[str, Any] = self._page.evaluate(_TAG, [_channels(waveform), rate_hz])
        return found

    def tag_file(self, path: Path, labels: Sequence[str] = ()) -> dict[str, Any]:
        """Tag a file, decoded by the browser; with labels where the model takes them."""
        content = base64.b64encode(path.read_bytes()).decode()
        found: dict[str, Any] = self._page.evaluate(_TAG_FILE, [path.name, content, list(labels)])
        return found

    def stream(self, chunks: list[np.ndarray], rate_hz: int, **options: object) -> dict[str, Any]:
        """Push all chunks; returns all updates, and what the stream ended with."""
        given = [[_channels(each) for each in chunks], rate_hz, options]
        found: dict[str, Any] = self._page.evaluate(_STREAM, given)
        return found


def _channels(waveform: np.ndarray) -> list[str]:
    planes = np.atleast_2d(waveform).astype("<f4")
    return [base64.b64encode(plane.tobytes()).decode() for plane in planes]
