//! What the language model can, as sessions of the engine: recognition, adapters, prompts, translation and synthesis, each
//! with the bits it has alone, whoever had its row before.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

mod reading;
mod steering;

use std::sync::Arc;
use std::time::Duration;

use moshi_checkpoint::{OpenOptions, Repository, Source, VoiceFile};
use moshi_engine::{
    Condition, Engine, EngineConfig, EngineError, FRAME_SAMPLES, Input, Output, Prompt, PromptFrame, SessionEvent,
    SessionId, SessionParams, SessionSpec, WordEvent,
};
use moshi_lm::prompt::{CODEBOOKS, ReplayedVoice, Voice};
use moshi_lm::spelling::Speller;
use moshi_lm::words::{self, LiveWords, Pauses};
use moshi_model::{AdapterPath, LoadOptions, load_model, role_play};
use moshi_testkit::{FileTensors, Golden, assert_close};

fn open(golden: Golden) -> Repository {
    Repository::open(&Source::Folder(golden.path("")), &OpenOptions::default(), &mut ()).unwrap()
}

fn engine(golden: Golden, rows: usize, adapters: &[&str]) -> Engine {
    let adapters = adapters
        .iter()
        .map(|name| AdapterPath { name: (*name).to_owned(), path: Golden::TINY_LORA.path(name) })
        .collect();
    let options = LoadOptions { exact: true, adapters, ..LoadOptions::default() };
    let loaded = load_model(&open(golden), golden.name(), &options).unwrap();
    Engine::new(loaded.model.new_rows(rows).unwrap(), EngineConfig::default())
}

fn greedy() -> SessionSpec {
    let sampling = SessionParams { temperature: 0.0, text_temperature: 0.0, ..SessionParams::default() };
    SessionSpec::lossless(sampling)
}

fn prompted(prompt: &Arc<Prompt>) -> SessionSpec {
    SessionSpec { prompt: Some(prompt.clone()), ..greedy() }
}

fn adapted(name: &str) -> SessionSpec {
    SessionSpec { adapter: Some(name.to_owned()).filter(|name| name != "none"), ..greedy() }
}

/// Codes `[streams, frames]` frame by frame.
fn frames(codes: &[i32], streams: usize) -> Vec<Vec<i32>> {
    let frames = codes.len() / streams;
    (0..frames).map(|f| (0..streams).map(|q| codes[q * frames + f]).collect()).collect()
}

fn say(engine: &mut Engine, id: SessionId, frames: &[Vec<i32>]) {
    for frame in frames {
        engine.push(Duration::ZERO, id, Input::Codes(frame)).unwrap();
    }
}

/// Steps until nothing is due.
fn run(engine: &mut Engine) -> Vec<Output> {
    let mut out = Vec::new();
    while engine.ready() {
        engine.tick(Duration::ZERO, &mut out).unwrap();
    }
    out
}

fn events(out: &[Output], id: SessionId) -> Vec<&SessionEvent> {
    out.iter().filter(|output| output.session == id).map(|output| &output.event).collect()
}

fn codes(out: &[Output], id: SessionId) -> Vec<i32> {
    let codes = |event: &&SessionEvent| if let SessionEvent::Codes(codes) = event { codes.clone() } else { vec![] };
    events(out, id).iter().flat_map(codes).collect()
}

/// The samples of a 16-bit file of one channel.
fn wave(golden: Golden, file: &str) -> Vec<f32> {
    let bytes = std::fs::read(golden.path(file)).unwrap();
    let data = bytes.windows(4).position(|tag| tag == b"data").unwrap() + 8;
    bytes[data..].as_chunks::<2>().0.iter().map(|b| f32::from(i16::from_le_bytes(*b)) / 32_768.0).collect()
}

/// What a recognition tells of these tokens and heads.
fn recognised(tokens: &[i32], heads: Option<&[f32]>) -> Vec<SessionEvent> {
    let repository = open(Golden::TINY_STT);
    let lm = &repository.config().lm;
    let speller = Speller::from_bytes("tiny", &repository.tokenizer_bytes().unwrap(), lm).unwrap();
    let (mut words, mut pauses, mut events) = (LiveWords::new(12.5, 6), Pauses::default(), Vec::new());
    let mut told = Vec::new();
    for (step, &token) in tokens.iter().enumerate() {
        words.push(token, &speller, &mut events);
        told.extend(events.drain(..).map(|event| match event {
            words::WordEvent::Started { text, start } => {
                pauses.word();
                SessionEvent::Word(WordEvent::Started { text, start })
            }
            words::WordEvent::Ended { stop } => SessionEvent::Word(WordEvent::Ended { stop }),
        }));
        let heads = heads.map(|heads| &heads[step * 4 * lm.extra_heads_dim..][..4 * lm.extra_heads_dim]);
        if heads.is_some_and(|heads| pauses.push(heads, lm.extra_heads_dim)) {
            told.push(SessionEvent::Pause);
        }
    }
    told
}

fn is_word(event: &&SessionEvent) -> bool {
    matches!(event, SessionEvent::Word(_))
}

#[test]
fn a_recognition_tells_words_with_times_until_the_last_word_has_come() {
    let golden = Golden::TINY_STT;
    let (results, meta) = (golden.results().unwrap(), golden.meta().unwrap());
    let silence = vec![0.0; meta["frames_before"].as_u64().unwrap() as usize * FRAME_SAMPLES];
    let (tokens, heads) = (results.i32("text_tokens").unwrap(), results.f32("extra_heads").unwrap());
    let coded = frames(&results.i32("file_codes").unwrap(), 8);
    let mut engine = engine(golden, 3, &[]);
    let spec = || SessionSpec { tail: 100, ..greedy() };
    let (spoken, told) = (engine.open(spec()).unwrap(), engine.open(spec()).unwrap());
    engine.push(Duration::ZERO, spoken, Input::Audio(&silence)).unwrap();
    engine.push(Duration::ZERO, spoken, Input::Audio(&wave(golden, "speech.wav"))).unwrap();
    say(&mut engine, told, &coded);
    [spoken, told].iter().for_each(|id| engine.push(Duration::ZERO, *id, Input::End).unwrap());
    let out = run(&mut engine);
    let events = [events(&out, spoken), events(&out, told)];
    let expected = recognised(&tokens, Some(&heads));
    let tells = |event: &&&SessionEvent| is_word(event) || matches!(event, SessionEvent::Pause);
    let found: Vec<&SessionEvent> = events[0].iter().filter(tells).copied().collect();
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
    assert!(found.iter().any(is_word));
    let head = |event: &&&SessionEvent| if let SessionEvent::Heads(heads) = **event { heads.clone() } else { vec![] };
    assert_close("heads", &events[0].iter().flat_map(|event| head(&event)).collect::<Vec<_>>(), &heads, 1e-4);
    // Codes: the reference's words, and a token for each step, those of the tail too.
    let tokens = results.i32("file_text_tokens").unwrap();
    let said = codes(&out, told);
    let (found, after) = said.split_at(tokens.len());
    assert_eq!((found, after.len()), (&tokens[..], 7));
    let words = recognised(&said, None);
    assert_eq!(
        events[1].iter().filter(|event| is_word(event)).copied().collect::<Vec<_>>(),
        words.iter().collect::<Vec<_>>()
    );
    for events in events {
        assert_eq!(events.last().unwrap(), &&SessionEvent::Ended);
        assert!(!events.iter().any(|event| matches!(event, SessionEvent::Audio { .. })));
    }
}

#[test]
fn sessions_of_one_batch_speak_with_adapters_of_their_own() {
    let results = Golden::TINY_LORA.results().unwrap();
    let user = frames(&results.i32("user_codes").unwrap(), 8);
    let expected = |name: &str| results.i32(&format!("bf16_{name}_out_tokens")).unwrap();
    let names = ["none", "a", "b"];
    let mut house = engine(Golden::TINY_MOSHI, 3, &names[1..]);
    // Rows change their adapters: each has had another's before.
    for turn in 0..3 {
        let name = |i: usize| names[(i + turn) % 3];
        let ids: Vec<_> = (0..3).map(|i| house.open(adapted(name(i))).unwrap()).collect();
        ids.iter().for_each(|id| say(&mut house, *id, &user));
        let out = run(&mut house);
        for (i, id) in ids.into_iter().enumerate() {
            assert_eq!(codes(&out, id), expected(name(i)), "{} in turn {turn}", name(i));
            house.close(id);
        }
    }
    for name in names {
        let id = house.open(adapted(name)).unwrap();
        say(&mut house, id, &user);
        assert_eq!(codes(&run(&mut house), id), expected(name), "{name} alone");
        house.close(id);
    }
    let refused = house.admit(adapted("c")).unwrap_err();
    assert!(matches!(refused, EngineError::Parameter { name: "adapter", .. }), "{refused}");
    assert!(refused.to_string().contains("a, b"), "{refused}");
    assert!(house.admit(adapted("a")).is_ok(), "the row is free");
}

/// A run of the reference: its prompt, and the frames that follow.
fn role(run: &str) -> (Arc<Prompt>, Vec<i32>) {
    let (golden, repository) = (Golden::TINY_PERSONAPLEX, open(Golden::TINY_PERSONAPLEX));
    let (results, meta, config) = (golden.results().unwrap(), golden.meta().unwrap(), &repository.config().lm);
    let (voice, inputs) = if run == "wav" {
        let frames = meta["runs"]["wav"]["voice_frames"].as_u64().unwrap() as usize;
        let codes = results.i32("prompt_agent").unwrap();
        let codes: Vec<[i32; CODEBOOKS]> = codes.chunks_exact(CODEBOOKS).map(|c| c.try_into().unwrap()).collect();
        (Voice::Codes(codes[..frames].to_vec()), Vec::new())
    } else {
        let file = VoiceFile::read(&golden.path("voices/VARF0.pt")).unwrap();
        let voice = ReplayedVoice::new(file.inputs, &file.table, config).unwrap();
        (Voice::Replayed(voice), file.embeddings)
    };
    let role: Vec<i32> =
        meta["runs"][run]["role_tokens"].as_array().unwrap().iter().map(|t| t.as_i64().unwrap() as i32).collect();
    let prompt = moshi_lm::prompt::Prompt::new(&voice, &role, config).unwrap();
    // The published program reads a column later: its first frame is the last of the prompt.
    let said = results.i32(&format!("{run}_out_tokens")).unwrap()[1 + CODEBOOKS..].to_vec();
    (Arc::new(role_play(&prompt, &inputs, config.dim).unwrap()), said)
}

#[test]
fn sessions_of_one_batch_have_prompts_of_their_own_and_leave_nothing_in_their_rows() {
    let golden = Golden::TINY_PERSONAPLEX;
    let user = frames(&golden.results().unwrap().i32("user_codes").unwrap(), CODEBOOKS);
    let ((wav, wav_said), (pt, pt_said)) = (role("wav"), role("pt"));
    let mut house = engine(golden, 3, &[]);
    let mut plain: Option<Vec<i32>> = None;
    // In every row of the house each of them comes after each of the others.
    for turn in 0..3 {
        let specs = [prompted(&wav), prompted(&pt), greedy()];
        let mut ids = [None; 3];
        for i in 0..3 {
            let which = (i + turn) % 3;
            let id = house.open(specs[which].clone()).unwrap();
            say(&mut house, id, &user);
            ids[which] = Some(id);
        }
        let out = run(&mut house);
        let ids = ids.map(Option::unwrap);
        for (id, said) in ids.into_iter().zip([&wav_said, &pt_said]) {
            assert_eq!(codes(&out, id)[..said.len()], **said);
            assert_eq!(events(&out, id)[..2], [&SessionEvent::Opened, &SessionEvent::Primed]);
        }
        let said = codes(&out, ids[2]);
        assert!(!events(&out, ids[2]).contains(&&SessionEvent::Primed));
        assert_eq!(plain.get_or_insert_with(|| said.clone()), &said, "turn {turn}");
        ids.into_iter().for_each(|id| house.close(id));
    }
}

#[test]
fn a_prompt_that_is_known_is_over_after_one_step_whatever_the_seed() {
    let golden = Golden::TINY_PERSONAPLEX;
    let user = frames(&golden.results().unwrap().i32("user_codes").unwrap(), CODEBOOKS);
    let (prompt, expected) = role("pt");
    let again = Arc::new((*prompt).clone()); // the same prompt, made anew
    let seeded = |prompt: &Arc<Prompt>, seed: u64| {
        let sampling = SessionParams { seed, ..SessionParams::default() };
        SessionSpec { prompt: Some(prompt.clone()), ..SessionSpec::lossless(sampling) }
    };
    let say_all = |house: &mut Engine, spec: SessionSpec| {
        let id = house.open(spec).unwrap();
        let (mut out, mut ticks) = (Vec::new(), 0);
        while !events(&out, id).contains(&&SessionEvent::Primed) {
            house.tick(Duration::ZERO, &mut out).unwrap();
            ticks += 1;
        }
        say(house, id, &user);
        let said = codes(&run(house), id);
        house.close(id);
        (said, ticks)
    };
    let mut house = engine(golden, 2, &[]);
    assert_eq!(say_all(&mut house, prompted(&prompt)).1, prompt.frames.len());
    let (said, ticks) = say_all(&mut house, prompted(&again));
    assert_eq!((&said[..expected.len()], ticks), (&expected[..], 1));
    // With another seed its last step draws something else: as where the prompt runs for the first time.
    let known = say_all(&mut house, seeded(&again, 7));
    let fresh = say_all(&mut engine(golden, 1, &[]), seeded(&prompt, 7));
    assert!(known.0 == fresh.0 && known.0 != said && known.1 == 1);
    // Another prompt is not known, and neither is this one where repetition is penalised.
    let (other, said) = role("wav");
    let (found, ticks) = say_all(&mut house, prompted(&other));
    assert_eq!((&found[..said.len()], ticks), (&said[..], other.frames.len()));
    let mut penalised = prompted(&prompt);
    penalised.sampling.repetition_penalty = 1.5;
    assert_eq!(say_all(&mut house, penalised).1, prompt.frames.len());
}

#[test]
fn a_copy_in_the_middle_of_a_prompt_goes_on_with_it() {
    let golden = Golden::TINY_PERSONAPLEX;
    let user = frames(&golden.results().unwrap().i32("user_codes").unwrap(), CODEBOOKS);
    let ((pt, said), mut house) = (role("pt"), engine(golden, 2, &[]));
    let id = house.open(prompted(&pt)).unwrap();
    say(&mut house, id, &user);
    let mut out = Vec::new();
    (0..5).for_each(|_| drop(house.tick(Duration::ZERO, &mut out).unwrap()));
    let copy = house.fork(id).unwrap();
    let out = run(&mut house);
    [id, copy].iter().for_each(|id| assert_eq!(codes(&out, *id)[..said.len()], *said));
}

/// Sound shows it to the bit.
#[test]
fn whoever_leaves_in_the_middle_of_a_prompt_leaves_nothing_of_it() {
    let golden = Golden::TINY_PERSONAPLEX;
    let pcm: Vec<f32> = (0..8 * FRAME_SAMPLES).map(|i| (i as f32 * 0.05).sin() * 0.3).collect();
    let hear = |engine: &mut Engine| {
        let id = engine.open(greedy()).unwrap();
        engine.push(Duration::ZERO, id, Input::Audio(&pcm)).unwrap();
        let out = run(engine);
        let said: Vec<SessionEvent> = events(&out, id).into_iter().cloned().collect();
        assert!(said.iter().any(|event| matches!(event, SessionEvent::Audio { .. })));
        engine.close(id);
        said
    };
    let fresh = hear(&mut engine(golden, 1, &[]));
    for prompt in [role("wav").0, role("pt").0] {
        let mut used = engine(golden, 1, &[]);
        let id = used.open(prompted(&prompt)).unwrap();
        let mut out = Vec::new();
        (0..5).for_each(|_| drop(used.tick(Duration::ZERO, &mut out).unwrap()));
        used.close(id);
        assert!(hear(&mut used) == fresh);
    }
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_and_stops_nobody() {
    let (golden, (pt, _)) = (Golden::TINY_PERSONAPLEX, role("pt"));
    let mut engine = engine(golden, 1, &[]);
    let mut refused = |change: &dyn Fn(&mut PromptFrame)| {
        let mut prompt = (*pt).clone();
        change(&mut prompt.frames[1]);
        let spec = SessionSpec { prompt: Some(Arc::new(prompt)), ..greedy() };
        engine.admit(spec).unwrap_err().to_string()
    };
    let heard = refused(&|frame| frame.heard[0] = 5_000);
    assert!(heard.contains("5000"), "{heard}");
    let said = refused(&|frame| frame.said.truncate(3));
    assert!(said.contains("found 3"), "{said}");
    let input = refused(&|frame| frame.input = Some(vec![0.0; 3]));
    assert!(input.contains("input of a step"), "{input}");
    assert!(engine.admit(greedy()).is_ok(), "the row is free");
}

/// A session that may go on after its end, and is told how good its translation shall be.
fn translating(quality: Option<&str>) -> SessionSpec {
    let told = quality.map_or(Condition::NotGiven, Condition::from);
    SessionSpec { tail: 200, conditions: [("description".to_owned(), told)].into(), ..greedy() }
}

fn sound(out: &[Output], id: SessionId) -> Vec<f32> {
    let pcm = |event: &&SessionEvent| if let SessionEvent::Audio { pcm, .. } = event { pcm.clone() } else { vec![] };
    events(out, id).iter().flat_map(pcm).collect()
}

/// Three translations in one batch, each in a row of its own in each turn: the golden one by sound, which ends by itself,
/// the same by codes, and one that is told something else. Returns what that one says.
fn translate(house: &mut Engine, golden: Golden, turn: usize, (told, other): (Option<&str>, Option<&str>)) -> Vec<f32> {
    let (results, speech) = (golden.results().unwrap(), wave(Golden::TINY_HIBIKI, "speech.wav"));
    let mut ids = [None; 3];
    for which in (0..3).map(|i| (i + turn) % 3) {
        ids[which] = Some(house.open(translating(if which == 2 { other } else { told })).unwrap());
    }
    let [spoken, coded, other] = ids.map(Option::unwrap);
    for id in [spoken, other] {
        house.push(Duration::ZERO, id, Input::Audio(&speech)).unwrap();
        house.push(Duration::ZERO, id, Input::End).unwrap();
    }
    say(house, coded, &frames(&results.i32("codes").unwrap(), 8));
    let out = run(house);
    assert_eq!(codes(&out, coded), results.i32("out_tokens").unwrap(), "{}", golden.name());
    assert_close("sound", &sound(&out, spoken), &results.f32("pcm").unwrap(), 1e-3);
    assert_eq!(events(&out, spoken).last(), Some(&&SessionEvent::Ended));
    [coded, other].iter().for_each(|id| house.close(*id));
    sound(&out, other)
}

#[test]
fn a_translation_goes_on_until_its_end_and_hears_its_own_conditions() {
    let mut house = engine(Golden::TINY_HIBIKI, 3, &[]);
    let good = Some("very_good");
    let said = [Some("very_bad"), None, Some("very_bad")]
        .iter()
        .enumerate()
        .map(|(turn, other)| translate(&mut house, Golden::TINY_HIBIKI, turn, (good, *other)));
    let [bad, not_told, again]: [Vec<f32>; 3] = said.collect::<Vec<_>>().try_into().unwrap();
    assert!(bad == again, "the same bits in another row, after another session");
    assert!(bad != not_told, "what is not given is not heard as what was given before");
    let mut fresh = engine(Golden::TINY_HIBIKI, 3, &[]);
    assert!(translate(&mut fresh, Golden::TINY_HIBIKI, 1, (good, None)) == not_told, "as in a fresh row");
    let refused = house.admit(translating(Some("splendid"))).unwrap_err().to_string();
    assert!(refused.contains("very_good"), "{refused}");
}

#[test]
fn a_translation_without_conditions_ends_by_itself_too() {
    let mut house = engine(Golden::TINY_HIBIKI_ZERO, 3, &[]);
    let said: Vec<_> = (0..3).map(|turn| translate(&mut house, Golden::TINY_HIBIKI_ZERO, turn, (None, None))).collect();
    assert!(said[0] == said[1] && said[1] == said[2]);
}

#[test]
fn a_guided_translation_says_what_the_reference_says_beside_one_that_is_not() {
    for golden in [Golden::TINY_HIBIKI, Golden::TINY_HIBIKI_ZERO] {
        let Ok(guided_said) = golden.results().unwrap().i32("cfg_out_tokens") else { continue };
        let results = golden.results().unwrap();
        let coded = frames(&results.i32("codes").unwrap(), 8);
        let mut house = engine(golden, 2, &[]);
        let guided = || SessionSpec { guidance: Some(3.0), ..greedy() };
        for specs in [[guided(), greedy()], [greedy(), guided()], [guided(), guided()]] {
            let ids = specs.clone().map(|spec| house.open(spec).unwrap());
            ids.iter().for_each(|id| say(&mut house, *id, &coded));
            let out = run(&mut house);
            for (id, spec) in ids.into_iter().zip(&specs) {
                let expected = results.i32("out_tokens").unwrap();
                let expected = if spec.guidance.is_some() { &guided_said } else { &expected };
                assert_eq!(
                    &codes(&out, id)[..expected.len().min(guided_said.len())],
                    &expected[..expected.len().min(guided_said.len())]
                );
                house.close(id);
            }
        }
        let id = house.admit(guided()).unwrap();
        assert!(house.fork(id).unwrap_err().to_string().contains("cannot be copied"));
    }
    let refused =
        engine(Golden::TINY_MOSHI, 1, &[]).admit(SessionSpec { guidance: Some(2.0), ..greedy() }).unwrap_err();
    assert!(refused.to_string().contains("knows no guidance"), "{refused}");
}

/// A dialogue, two adapters, a recognition, a synthesis, a translation and a prompted call in one process, in one batch
/// where the checkpoint is the same.
#[test]
fn all_kinds_of_session_run_side_by_side() {
    let results = |golden: Golden| golden.results().unwrap();
    let (lora, stt) = (results(Golden::TINY_LORA), results(Golden::TINY_STT));
    let (hibiki, role_play) = (results(Golden::TINY_HIBIKI), results(Golden::TINY_PERSONAPLEX));
    let (prompt, role_said) = role("wav");
    let user = |codes: &FileTensors, name: &str| frames(&codes.i32(name).unwrap(), 8);
    let tts = reading::model("config.json");
    let mut houses = [
        engine(Golden::TINY_MOSHI, 3, &["a", "b"]),
        engine(Golden::TINY_STT, 1, &[]),
        engine(Golden::TINY_HIBIKI, 1, &[]),
        engine(Golden::TINY_PERSONAPLEX, 1, &[]),
        Engine::new(tts.model.new_rows(2).unwrap(), EngineConfig::default()),
    ];
    let read = ["distilled", "few_codebooks"].map(|name| houses[4].open(reading::spec(&tts, name)).unwrap());
    reading::read(&mut houses[4], read[0], "distilled");
    reading::read(&mut houses[4], read[1], "few_codebooks");
    let adapters = ["none", "a", "b"].map(|name| (0, adapted(name), user(&lora, "user_codes")));
    let others = [
        (1, greedy(), user(&stt, "file_codes")),
        (2, translating(Some("very_good")), user(&hibiki, "codes")),
        (3, prompted(&prompt), user(&role_play, "user_codes")),
    ];
    let ids: Vec<(usize, SessionId)> = adapters
        .into_iter()
        .chain(others)
        .map(|(house, spec, heard)| {
            let id = houses[house].open(spec).unwrap();
            say(&mut houses[house], id, &heard);
            (house, id)
        })
        .collect();
    let mut out = [const { Vec::new() }; 5];
    while houses.iter().any(Engine::ready) {
        for (house, out) in houses.iter_mut().zip(&mut out).filter(|(house, _)| house.ready()) {
            house.tick(Duration::ZERO, out).unwrap();
        }
    }
    let said: Vec<Vec<i32>> = ids.iter().map(|(house, id)| codes(&out[*house], *id)).collect();
    for (said, name) in said.iter().zip(["none", "a", "b"]) {
        assert_eq!(*said, lora.i32(&format!("bf16_{name}_out_tokens")).unwrap(), "{name}");
    }
    assert_eq!(said[3], stt.i32("file_text_tokens").unwrap());
    assert_eq!(said[4], hibiki.i32("out_tokens").unwrap());
    assert_eq!(said[5][..role_said.len()], role_said);
    reading::assert_golden(&out[4], read[0], "distilled");
    reading::assert_golden(&out[4], read[1], "few_codebooks");
}
