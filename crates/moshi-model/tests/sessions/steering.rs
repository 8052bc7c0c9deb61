//! What a running dialogue is given beside what it hears: words to say, forced cells, vectors, and what it tells of itself.

use std::time::Duration;

use moshi_engine::{Engine, FRAME_SAMPLES, Forced, Input, SessionEvent, SessionId, SessionSpec, When, Words};
use moshi_lm::spelling::Speller;
use moshi_testkit::Golden;

use super::{codes, engine, events, frames, greedy, open, run, say};

fn user() -> Vec<Vec<i32>> {
    frames(&Golden::TINY_LORA.results().unwrap().i32("user_codes").unwrap(), 8)
}

fn plain() -> Vec<i32> {
    Golden::TINY_LORA.results().unwrap().i32("bf16_none_out_tokens").unwrap()
}

/// The text tokens of what was told frame by frame.
fn text(told: &[i32]) -> Vec<i32> {
    told.iter().step_by(9).copied().collect()
}

/// Some text that the tiny tokenizer can spell, and its tokens word by word.
fn spelled() -> (&'static str, Vec<Vec<i32>>) {
    let repository = open(Golden::TINY_MOSHI);
    let lm = &repository.config().lm;
    let speller = Speller::from_bytes("tiny", &repository.tokenizer_bytes().unwrap(), lm).unwrap();
    let text = "hello there";
    (text, text.split(' ').map(|word| speller.spell(word).unwrap()).collect())
}

/// A house with a dialogue that is steered by `steer` after 10 frames, between two that are not.
fn steered(spec: SessionSpec, steer: impl Fn(&mut Engine, SessionId)) -> Vec<SessionEvent> {
    let mut house = engine(Golden::TINY_MOSHI, 3, &[]);
    let ids = [greedy(), spec, greedy()].map(|spec| house.open(spec).unwrap());
    let user = user();
    let mut out = Vec::new();
    for (heard, later) in [(&user[..10], false), (&user[10..], true)] {
        if later {
            steer(&mut house, ids[1]);
        }
        ids.iter().for_each(|id| say(&mut house, *id, heard));
        out.extend(run(&mut house));
    }
    [ids[0], ids[2]].iter().for_each(|id| assert_eq!(codes(&out, *id), plain(), "a neighbour is not touched"));
    events(&out, ids[1]).into_iter().cloned().collect()
}

fn told(events: &[SessionEvent]) -> Vec<i32> {
    let codes = |event: &SessionEvent| if let SessionEvent::Codes(codes) = event { codes.clone() } else { vec![] };
    events.iter().flat_map(codes).collect()
}

#[test]
fn nothing_is_different_before_something_is_given() {
    assert_eq!(told(&steered(greedy(), |_, _| {})), plain());
}

#[test]
fn words_are_said_next_and_then_the_model_goes_on() {
    let (words, pieces) = spelled();
    let said = told(&steered(greedy(), |house, id| {
        house.push(Duration::ZERO, id, Input::Words(Words::new(words))).unwrap();
    }));
    let (found, expected) = (text(&said), text(&plain()));
    assert_eq!(found[..10], expected[..10], "what was said before stays");
    // The beginning of a word, its pieces, then padding as the model likes, and the next.
    let mut rest = &found[10..];
    for pieces in pieces {
        let begins = rest.iter().position(|&token| token == 0).unwrap();
        assert!(begins <= 9, "{rest:?}");
        assert!(rest[..begins].iter().all(|&token| token == 3), "{rest:?}");
        rest = &rest[begins + 1..];
        assert_eq!(rest[..pieces.len()], pieces);
        rest = &rest[pieces.len()..];
    }
    assert_eq!(said.len(), plain().len());
}

#[test]
fn words_for_later_wait_until_the_model_is_quiet() {
    let (words, _) = spelled();
    let quiet = steered(greedy(), |house, id| {
        house.push(Duration::ZERO, id, Input::Words(Words { when: When::Quiet, ..Words::new(words) })).unwrap();
    });
    // The tiny model babbles: it is never quiet for half a second.
    let expected = plain();
    let longest = text(&expected).split(|token| ![0, 3].contains(token)).map(<[i32]>::len).max().unwrap();
    assert!(longest < 6);
    assert_eq!(told(&quiet), expected);
}

#[test]
fn forced_cells_are_said_as_they_are() {
    let text_tokens = [7, 8, 9];
    let said = told(&steered(greedy(), |house, id| {
        let frames = text_tokens.map(|token| {
            let mut cells = [Forced::Free; 9];
            (cells[0], cells[1]) = (Forced::Token(token), Forced::Token(11));
            cells
        });
        house.push(Duration::ZERO, id, Input::Forced(&frames[0])).unwrap();
        house.push(Duration::ZERO, id, Input::Forced(frames[1..].as_flattened())).unwrap();
    }));
    assert_eq!(text(&said)[10..13], text_tokens);
    assert!(said.chunks_exact(9).skip(10).take(3).all(|frame| frame[1] == 11));
    let only_text = told(&steered(greedy(), |house, id| {
        house.push(Duration::ZERO, id, Input::Forced(&[Forced::Token(7)])).unwrap();
    }));
    assert_eq!(text(&only_text)[10], 7);
    assert_eq!(said[..81], plain()[..81]);
}

#[test]
fn an_added_vector_changes_what_is_said_from_its_step_on_and_zeros_change_nothing() {
    let width = open(Golden::TINY_MOSHI).config().lm.dim;
    let add = |value: f32| {
        told(&steered(greedy(), |house, id| {
            (0..4).for_each(|_| house.push(Duration::ZERO, id, Input::Added(&vec![value; width])).unwrap());
        }))
    };
    assert_eq!(add(0.0), plain());
    let moved = add(3.0);
    assert_eq!(moved[..81], plain()[..81]);
    assert_ne!(moved, plain());
}

#[test]
fn a_session_tells_the_tokens_that_it_watches_for_and_its_codes_beside_the_sound() {
    let watched = text(&plain())[5];
    let later = steered(greedy(), |house, id| house.push(Duration::ZERO, id, Input::Watched(&[watched])).unwrap());
    let tells = |event: &SessionEvent| matches!(event, SessionEvent::Token { .. });
    let after_nine = text(&plain())[9..].iter().filter(|&&token| token == watched).count();
    assert_eq!(later.iter().filter(|event| tells(event)).count(), after_nine);
    let events = steered(SessionSpec { watched: vec![watched], ..greedy() }, |_, _| {});
    let expected = text(&plain()).iter().filter(|&&token| token == watched).count();
    let seen = |event: &&SessionEvent| matches!(event, SessionEvent::Token { token, .. } if *token == watched);
    assert_eq!(events.iter().filter(seen).count(), expected);
    assert!(events.contains(&SessionEvent::Token { token: watched, step: 6 }), "frame 5 is complete at step 6");
    let pcm: Vec<f32> = (0..8 * FRAME_SAMPLES).map(|i| (i as f32 * 0.05).sin() * 0.3).collect();
    let mut house = engine(Golden::TINY_MOSHI, 2, &[]);
    let both = house.open(SessionSpec { tells_codes: true, ..greedy() }).unwrap();
    let sound = house.open(greedy()).unwrap();
    [both, sound].iter().for_each(|id| house.push(Duration::ZERO, *id, Input::Audio(&pcm)).unwrap());
    let out = run(&mut house);
    assert_eq!(super::sound(&out, both), super::sound(&out, sound));
    assert_eq!((codes(&out, both).len(), codes(&out, sound).len()), (7 * 9, 0));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_of_it_is_taken() {
    let refusals = |house: &mut Engine, id: SessionId| {
        let mut refused = |input: Input<'_>| house.push(Duration::ZERO, id, input).unwrap_err().to_string();
        assert!(refused(Input::Forced(&[Forced::Free; 10])).contains("10 forced cells; expected 1 to 9"));
        let mut cells = [Forced::Free; 9];
        cells[2] = Forced::Token(64);
        assert!(refused(Input::Forced(&cells)).contains("token 64 of stream 2; expected 0 to 63"));
        assert!(refused(Input::Added(&[0.0; 3])).contains("3 values to add"));
        let width = open(Golden::TINY_MOSHI).config().lm.dim;
        assert!(refused(Input::Added(&vec![f32::NAN; width])).contains("NaN at 0"));
        let mut two = vec![Forced::Free; 18];
        two[9] = Forced::Token(-7);
        assert!(refused(Input::Forced(&two)).contains("token -7 of stream 0"), "nor the frame before it");
        assert!(refused(Input::Forced(&[])).contains("0 forced cells"));
        assert!(refused(Input::Added(&[])).contains("0 values"));
        let long = vec![0.0; 8_193 * width];
        assert!(refused(Input::Added(&long)).contains("8193 vectors"));
        assert!(refused(Input::Words(Words::new("hello \u{4e2d}"))).contains("spelled"));
    };
    assert_eq!(told(&steered(greedy(), refusals)), plain());
}
