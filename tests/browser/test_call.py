"""A call from the page: voice out, voice and words in, and the figures that the page shows about it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

# The loopback gives back what it hears. Energy (full scale squared, seconds) of a second of played speech, with room.
SPOKEN = 0.002


def talk(visitor, seconds: float = 3) -> dict:
    visitor.call()
    visitor.wait_for(f"s.played > {seconds} && s.playedEnergy > {SPOKEN}")
    return visitor.stats()


def test_a_voice_goes_out_and_comes_back_with_words(server, visitor):
    page = visitor.open(server.url)
    stats = talk(visitor)
    assert stats["format"] == "opus"
    assert stats["damaged"] == 0
    assert stats["lag"]["total"] == pytest.approx(sum(stats["lag"][part] for part in ("way", "waiting", "output")))
    assert 0.08 < stats["lag"]["total"] < 1.5
    page.wait_for_function("() => document.querySelector('#words').textContent.includes('dot dot')")
    assert page.inner_text("#lag").endswith(" s")
    page.click("#talk")
    visitor.wait_for("s.state === 'idle'")
    assert visitor.complaints == []


def test_the_built_in_model_answers_with_voice_and_words(start_server, visitor):
    server = start_server("--model", "built-in")
    page = visitor.open(server.url)
    visitor.call()
    visitor.wait_for(f"s.played > 3 && s.playedEnergy > {SPOKEN}")
    page.wait_for_function("() => document.querySelector('#words').textContent.trim().length > 10")
    assert visitor.stats()["damaged"] == 0
    assert visitor.complaints == []


def test_the_stream_is_steady(server, visitor):
    visitor.open(server.url)
    stats = talk(visitor, 5)
    assert stats["lag"]["total"] < 1, f"the answer keeps up with the voice: {stats}"
    assert stats["reconnects"] == 0
    # Opus at 32 kbit/s with a page for every packet: well below raw samples.
    assert stats["bytesSent"] * 8 / stats["sent"] < 100_000


@pytest.mark.parametrize("how", ["chosen", "no WebCodecs"])
def test_raw_samples_serve_where_opus_does_not(server, visitor, how):
    if how == "no WebCodecs":
        visitor.page.add_init_script("delete window.AudioEncoder; delete window.AudioDecoder")
    visitor.open(server.url, "{format: 'pcm'}" if how == "chosen" else "")
    stats = talk(visitor)
    assert stats["format"] == "pcm"
    assert parse_qs(urlsplit(visitor.sockets[0]).query)["format"] == ["pcm"]
    assert stats["bytesSent"] * 8 / stats["sent"] > 350_000
    assert visitor.complaints == []


def test_a_muted_microphone_sends_silence_and_the_call_goes_on(server, visitor):
    page = visitor.open(server.url)
    talk(visitor, 1)
    page.click("#mute")
    assert page.get_attribute("#mute", "aria-pressed") == "true"
    page.wait_for_timeout(1500)
    before = visitor.stats()
    visitor.wait_for(f"s.played > {before['played'] + 2}")
    after = visitor.stats()
    assert after["playedEnergy"] - before["playedEnergy"] < SPOKEN / 20
    page.click("#mute")
    visitor.wait_for(f"s.playedEnergy > {after['playedEnergy'] + SPOKEN}")


def test_sampling_parameters_travel_under_their_published_names(server, visitor):
    page = visitor.open(server.url)
    page.click("#open-settings")
    page.fill("#sampling-text_temperature", "0.35")
    page.fill("#sampling-audio_topk", "77")
    page.fill("#sampling-text_seed", "5")
    page.fill("#sampling-audio_temperature", "99")
    assert page.get_attribute("#sampling-audio_temperature", "aria-invalid") == "true"
    page.keyboard.press("Escape")
    visitor.call()
    query = {name: values[0] for name, values in parse_qs(urlsplit(visitor.sockets[0]).query).items()}
    assert query == {"text_temperature": "0.35", "audio_topk": "77", "text_seed": "5"}, "the rest is left to the server"
    page.click("#open-settings")
    assert page.get_attribute("#sampling-audio_temperature", "placeholder") == "0.8", "the server told what it uses"


def test_the_words_can_be_copied_saved_and_cleared(server, visitor):
    visitor.context.grant_permissions(["microphone", "clipboard-read", "clipboard-write"])
    page = visitor.open(server.url)
    assert page.is_disabled("#copy")
    visitor.call()
    page.wait_for_function("() => document.querySelector('#words').textContent.includes('dot dot')")
    page.click("#talk")
    page.click("#copy")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("[0:0") and "dot dot" in copied
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename.startswith("moshi-")
    assert download.value.path().read_text() == copied
    page.click("#clear")
    assert "dot" not in page.inner_text("#words")
    assert page.is_disabled("#copy")


def test_two_calls_from_one_page_after_another(server, visitor):
    visitor.open(server.url)
    for _ in range(2):
        stats = talk(visitor, 1)
        assert stats["seconds"] < 15, "the second call's clock starts anew"
        visitor.page.click("#talk")
        visitor.wait_for("s.state === 'idle' && s.lag === null")


def test_everything_comes_from_the_server_itself_under_its_own_policy(server, visitor):
    visitor.open(server.url)
    visitor.call()
    foreign = [url for url in visitor.requests + visitor.sockets if urlsplit(url).netloc != urlsplit(server.url).netloc]
    assert [url for url in foreign if not url.startswith("blob:")] == []
    assert not any("Content Security Policy" in words for words in visitor.complaints)
