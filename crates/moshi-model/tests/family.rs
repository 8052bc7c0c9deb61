//! The rest of the family as whole models: codec and language model together.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use moshi_checkpoint::{OpenOptions, Repository, Source};
use moshi_engine::{
    FRAME_SAMPLES, FrameInput, Heard, NO_ASIDE, RowOutput, RowStep, SessionParams, SessionSpec, WordEvent,
};
use moshi_lm::spelling::Speller;
use moshi_lm::words::{self, LiveWords, Pauses};
use moshi_model::{AdapterPath, LoadOptions, Loaded, load_model};
use moshi_testkit::{Golden, assert_close};

fn open(golden: Golden) -> Repository {
    Repository::open(&Source::Folder(golden.path("")), &OpenOptions::default(), &mut ()).unwrap()
}

fn load(golden: Golden, options: LoadOptions) -> Loaded {
    load_model(&open(golden), golden.name(), &LoadOptions { exact: true, ..options }).unwrap()
}

/// The samples of a 16-bit file of one channel.
fn wave(golden: Golden, file: &str) -> Vec<f32> {
    let bytes = std::fs::read(golden.path(file)).unwrap();
    let data = bytes.windows(4).position(|tag| tag == b"data").unwrap() + 8;
    bytes[data..].as_chunks::<2>().0.iter().map(|b| f32::from(i16::from_le_bytes(*b)) / 32_768.0).collect()
}

/// What a recognition makes of frames, in row 1 of 2.
fn recognise(loaded: &Loaded, pcm: &[f32]) -> Vec<Heard> {
    let mut rows = loaded.model.new_rows(2).unwrap();
    let greedy = SessionParams { temperature: 0.0, text_temperature: 0.0, ..SessionParams::default() };
    rows.open(1, &SessionSpec::live(greedy)).unwrap();
    let mut pcm_out = vec![0.0; FRAME_SAMPLES];
    let mut heard = Vec::new();
    for frame in pcm.chunks(FRAME_SAMPLES) {
        let mut samples = frame.to_vec();
        samples.resize(FRAME_SAMPLES, 0.0);
        let output = RowOutput::default();
        let mut steps =
            [RowStep { row: 1, input: FrameInput::Pcm(&samples), aside: &NO_ASIDE, pcm_out: &mut pcm_out, output }];
        rows.step(&mut steps).unwrap();
        let [RowStep { output, .. }] = steps;
        assert_eq!((output.error, output.audio), (None, false));
        heard.push(output.heard);
    }
    heard
}

#[test]
fn a_recognition_tells_words_pauses_and_what_its_heads_say() {
    let (golden, repository) = (Golden::TINY_STT, open(Golden::TINY_STT));
    let (results, meta) = (golden.results().unwrap(), golden.meta().unwrap());
    let silence = |key: &str| vec![0.0; meta[key].as_u64().unwrap() as usize * FRAME_SAMPLES];
    let mut speech = wave(golden, "speech.wav");
    speech.resize(speech.len().next_multiple_of(FRAME_SAMPLES), 0.0);
    let heard = recognise(
        &load(golden, LoadOptions::default()),
        &[silence("frames_before"), speech, silence("frames_after")].concat(),
    );
    let (tokens, heads) = (results.i32("text_tokens").unwrap(), results.f32("extra_heads").unwrap());
    assert_eq!(heard.len(), tokens.len());
    let found: Vec<f32> = heard.iter().flat_map(|heard| heard.heads.iter().copied()).collect();
    assert_close("heads", &found, &heads, 1e-4);
    // What the rules make of the reference's tokens and heads.
    let lm = &repository.config().lm;
    let speller = Speller::from_bytes("tiny", &repository.tokenizer_bytes().unwrap(), lm).unwrap();
    let (mut words, mut pauses, mut events) = (LiveWords::new(12.5, 6), Pauses::default(), Vec::new());
    let classes = lm.extra_heads_dim;
    for ((heard, &token), heads) in heard.iter().zip(&tokens).zip(heads.chunks(4 * classes)) {
        words.push(token, &speller, &mut events);
        let expected: Vec<WordEvent> = events
            .drain(..)
            .map(|event| match event {
                words::WordEvent::Started { text, start } => {
                    pauses.word();
                    WordEvent::Started { text, start }
                }
                words::WordEvent::Ended { stop } => WordEvent::Ended { stop },
            })
            .collect();
        assert_eq!(heard.words, expected);
        assert_eq!(heard.pause, pauses.push(heads, classes));
    }
    assert!(heard.iter().any(|heard| !heard.words.is_empty()));
}

#[test]
fn the_codec_of_a_role_play_is_known_by_its_shapes() {
    let golden = Golden::TINY_PERSONAPLEX;
    let (results, meta) = (golden.results().unwrap(), golden.meta().unwrap());
    let loaded = load(golden, LoadOptions::default());
    assert_eq!((loaded.model.info().dep_q, loaded.model.info().user_streams), (8, 8));
    // Scaled in double precision and rounded once: some codes of the reference are as close to others as that.
    let gain = meta["voice_gain"].as_f64().unwrap();
    let voice = wave(golden, "voices/VARM0.wav").into_iter().map(|x| (f64::from(x) * gain) as f32);
    let voice: Vec<f32> = voice.collect();
    let codes = loaded.codec.encode(&voice, &mut || true).unwrap();
    let frames = meta["runs"]["wav"]["voice_frames"].as_u64().unwrap() as usize;
    let agent = results.i32("prompt_agent").unwrap();
    let expected: Vec<u32> =
        (0..8).flat_map(|q| agent[..frames * 8].iter().skip(q).step_by(8).map(|c| *c as u32)).collect();
    assert_eq!(codes, expected);
    let out = results.i32("wav_out_tokens").unwrap();
    let said: Vec<u32> = (0..8).flat_map(|q| out.iter().skip(1 + q).step_by(9).map(|c| *c as u32)).collect();
    let pcm = loaded.codec.decode(&said, &mut || true).unwrap();
    assert_close("sound", &pcm, &results.f32("wav_pcm").unwrap(), 1e-3);
}

#[test]
fn adapters_are_loaded_beside_a_model() {
    let path = |name: &str| Golden::TINY_LORA.path(name);
    let options =
        |path| LoadOptions { adapters: vec![AdapterPath { name: "a".to_owned(), path }], ..LoadOptions::default() };
    for file in ["a", "c", "b/lora.safetensors"] {
        load(Golden::TINY_MOSHI, options(path(file)));
    }
    let refused = |golden: Golden, file: &str| {
        let options = options(Golden::TINY_LORA.path(file));
        load_model(&open(golden), golden.name(), &options).err().unwrap().to_string()
    };
    let other = refused(Golden::TINY_VARIANT, "a");
    assert!(other.contains("lora.safetensors"), "{other}");
    let none = refused(Golden::TINY_MOSHI, "nowhere");
    assert!(none.contains("config.json"), "{none}");
}
