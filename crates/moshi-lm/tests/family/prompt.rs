//! The prompt of a role-play, against the frames, columns and tables of the published program.

use std::sync::Arc;

use moshi_checkpoint::VoiceFile;
use moshi_lm::LmConfig;
use moshi_lm::delay::{Cell, DelayConfig, DelayLine};
use moshi_lm::prompt::{CODEBOOKS, Prompt, PromptError, ReplayedVoice, SILENCE, SINE, Voice, role_text};
use moshi_testkit::Golden;
use proptest::prelude::*;

use crate::{integers, speller};

const GOLDEN: Golden = Golden::TINY_PERSONAPLEX;
/// What the model would say if it were not forced: it must never be read.
const SAMPLED: [i32; 9] = [-7; 9];

fn config() -> LmConfig {
    LmConfig { text_card: 64, ..LmConfig::moshi_7b() }
}

fn line(config: &LmConfig) -> DelayLine {
    let initial = (0..17).map(|i| if i == 0 { config.text_card } else { config.card } as i32).collect();
    DelayLine::new(Arc::new(DelayConfig { delays: config.delays.clone(), initial, written: 9 }))
}

fn role() -> Vec<i32> {
    let meta = GOLDEN.meta().unwrap();
    let text = role_text(meta["role"].as_str().unwrap()).unwrap();
    let tokens = speller(GOLDEN, 64).spell(&text).unwrap();
    assert_eq!(tokens, integers(&meta["runs"]["wav"]["role_tokens"]));
    tokens
}

/// The prompt with the voice that was spoken, whose codes are the first 19 forced frames.
fn wav_prompt() -> Prompt {
    let codes = GOLDEN.results().unwrap().i32("prompt_agent").unwrap();
    let voice = codes.as_chunks::<CODEBOOKS>().0[..19].to_vec();
    Prompt::new(&Voice::Codes(voice), &role(), &config()).unwrap()
}

/// Runs the prompt over a delay line up to the step before its last, and returns the columns that were read.
fn run(prompt: &Prompt, line: &mut DelayLine) -> Vec<i32> {
    let mut columns = Vec::new();
    for s in 0..prompt.steps() - 1 {
        let step = prompt.step(s).unwrap();
        line.hear(&step.heard).unwrap();
        line.force(&step.forced).unwrap();
        let mut column = [0; 17];
        line.read(&mut column).unwrap();
        columns.extend(column);
        line.write(&SAMPLED).unwrap();
        line.advance();
    }
    columns
}

/// The table that is left after a prompt: the column that is read next, and what is forced in the one after it.
fn assert_table(prompt: &Prompt, line: &mut DelayLine, table: &[i32]) {
    let last = prompt.steps() - 1;
    let step = prompt.step(last).unwrap();
    assert_eq!(step.forced, [Cell::Pending; 9], "the last step forces no further frame");
    line.hear(&step.heard).unwrap();
    let (mut column, mut forced) = ([0; 17], [0; 9]);
    line.read(&mut column).unwrap();
    line.forced(&mut forced).unwrap();
    for stream in 0..17 {
        assert_eq!(column[stream], table[stream * 4 + last % 4], "stream {stream}");
        if (2..9).contains(&stream) {
            assert_eq!(forced[stream], table[stream * 4 + (last + 1) % 4], "forced stream {stream}");
        }
    }
    assert_eq!(forced[..2], [-1, -1], "text and the first codebook are the model's");
    assert_eq!(prompt.step(last + 1), None);
}

#[test]
fn frames_are_those_of_the_published_program() {
    let results = GOLDEN.results().unwrap();
    let cells = |name: &str| results.i32(name).unwrap().into_iter().map(Cell::Token).collect::<Vec<_>>();
    let prompt = wav_prompt();
    assert_eq!(prompt.steps(), 80);
    let frames = prompt.frames();
    assert_eq!(frames.iter().map(|f| f.text).collect::<Vec<_>>(), cells("prompt_text"));
    assert_eq!(frames.iter().flat_map(|f| f.agent).collect::<Vec<_>>(), cells("prompt_agent"));
    assert_eq!(frames.iter().flat_map(|f| f.user).collect::<Vec<_>>(), cells("prompt_user"));
}

#[test]
fn the_model_reads_the_columns_that_the_published_program_reads() {
    let results = GOLDEN.results().unwrap();
    let (prompt, mut line) = (wav_prompt(), line(&config()));
    assert_eq!(run(&prompt, &mut line), results.i32("prompt_read").unwrap());
    assert_table(&prompt, &mut line, &results.i32("wav_table_after_prompt").unwrap());
}

/// A table in which every cell is another code: column p of stream i at index p mod 4.
fn telling_table(last: usize) -> Vec<i64> {
    (0..17)
        .flat_map(|stream| (0..4).map(move |i| (stream, i)))
        .map(|(stream, i)| {
            let column = (last.saturating_sub(2)..last + 2).find(|p| p % 4 == i).unwrap_or(0);
            if stream == 0 { column as i64 % 64 } else { (stream * 100 + column) as i64 }
        })
        .collect()
}

#[test]
fn a_replayed_voice_leaves_its_table_behind() {
    for inputs in [1, 2, 3, 4, 7, 19] {
        let config = config();
        let table = telling_table(inputs);
        let voice = ReplayedVoice::new(inputs, &table, &config).unwrap();
        assert_eq!(voice.inputs(), inputs);
        let prompt = Prompt::new(&Voice::Replayed(voice), &[], &config).unwrap();
        let mut line = line(&config);
        let (mut column, mut forced) = ([0; 17], [0; 9]);
        for s in 0..=inputs {
            let step = prompt.step(s).unwrap();
            assert_eq!(step.replayed, Some(s).filter(|&s| s < inputs));
            line.hear(&step.heard).unwrap();
            line.force(&step.forced).unwrap();
            line.read(&mut column).unwrap();
            line.forced(&mut forced).unwrap();
            if s < inputs {
                line.write(&SAMPLED).unwrap();
                line.advance();
            }
        }
        for stream in 0..17 {
            let delayed = config.delays[stream] > 0;
            // A stream of a later column than the voice has frames still reads its initial token.
            if inputs > 1 || !delayed {
                assert_eq!(i64::from(column[stream]), table[stream * 4 + inputs % 4], "stream {stream} of {inputs}");
            }
            if (2..9).contains(&stream) {
                let expected = table[stream * 4 + (inputs + 1) % 4];
                assert_eq!(i64::from(forced[stream]), expected, "stream {stream} of {inputs}");
            }
        }
    }
}

#[test]
fn a_replayed_voice_ends_in_the_published_table() {
    let results = GOLDEN.results().unwrap();
    let file = VoiceFile::read(&GOLDEN.path("voices/VARF0.pt")).unwrap();
    let voice = Voice::Replayed(ReplayedVoice::new(file.inputs, &file.table, &config()).unwrap());
    let prompt = Prompt::new(&voice, &role(), &config()).unwrap();
    assert_eq!(prompt.steps(), 81);
    let mut line = line(&config());
    run(&prompt, &mut line);
    assert_table(&prompt, &mut line, &results.i32("pt_table_after_prompt").unwrap());
}

#[test]
fn a_role_stands_between_tags() {
    let text = |role: &str| role_text(role);
    assert_eq!(text("You are kind.").unwrap(), "<system> You are kind. <system>");
    assert_eq!(text("  You are kind.\n").unwrap(), "<system> You are kind. <system>");
    assert_eq!(text("<system> You are kind. <system>").unwrap(), "<system> You are kind. <system>");
    assert_eq!(text("<system> half").unwrap(), "<system> <system> half <system>");
    assert_eq!(text("<system>").unwrap(), "<system> <system> <system>");
    assert_eq!(text(""), None);
    assert_eq!(text(" \t\n"), None);
}

#[test]
fn an_empty_role_is_left_out() {
    let voice = Voice::Codes(vec![SILENCE; 3]);
    let prompt = Prompt::new(&voice, &[], &config()).unwrap();
    assert_eq!(prompt.steps(), 3 + 12);
    assert!(prompt.frames().iter().all(|frame| frame.text == Cell::Token(3) && frame.user == SINE.map(Cell::Token)));
}

#[test]
fn what_is_no_voice_is_refused() {
    let config = config();
    let codes = |codes: Vec<[i32; 8]>| Prompt::new(&Voice::Codes(codes), &[], &config).unwrap_err();
    assert_eq!(codes(vec![]), PromptError::EmptyVoice);
    let bad = [SILENCE, [0, 1, 2, 2_049, 4, 5, 6, 7]];
    assert_eq!(codes(bad.to_vec()), PromptError::Token { what: "codes of the prompt", found: 2_049, last: 2_048 });
    assert!(matches!(codes(vec![[-1; 8]]), PromptError::Token { found: -1, .. }));
    let table = |inputs, table: &[i64]| ReplayedVoice::new(inputs, table, &config).unwrap_err();
    assert_eq!(table(0, &[0; 68]), PromptError::EmptyVoice);
    assert_eq!(table(3, &[0; 67]), PromptError::Table { found: 67, expected: 68, columns: 4 });
    assert!(matches!(table(3, &[i64::MIN; 68]), PromptError::Token { found: i64::MIN, .. }));
    assert!(matches!(table(3, &[65; 68]), PromptError::Token { found: 65, last: 64, .. }));
    let role = Prompt::new(&Voice::Codes(vec![SILENCE]), &[4, 99], &config).unwrap_err();
    assert!(matches!(role, PromptError::Token { found: 99, .. }));
}

#[test]
fn a_model_with_other_streams_has_no_prompt() {
    let config = LmConfig { delays: vec![0, 0, 1], ..config() };
    let error = Prompt::new(&Voice::Codes(vec![SILENCE]), &[], &config).unwrap_err();
    assert_eq!(error, PromptError::Streams { found: 3 });
    assert!(ReplayedVoice::new(3, &[0; 68], &config).is_err());
}

proptest! {
    #[test]
    fn no_sampled_token_is_ever_read(frames in 1usize..30, role in prop::collection::vec(0i32..64, 0..30)) {
        let config = config();
        let voice = (0..frames as i32).map(|f| std::array::from_fn(|q| (f * 8 + q as i32) % 2_048)).collect();
        let prompt = Prompt::new(&Voice::Codes(voice), &role, &config).unwrap();
        prop_assert_eq!(prompt.steps(), frames + role.len() + 12);
        let mut line = line(&config);
        let columns = run(&prompt, &mut line);
        for (p, column) in columns.chunks(17).enumerate() {
            for (stream, &value) in column.iter().enumerate() {
                let delay = config.delays[stream];
                let frame = prompt.frames()[p.saturating_sub(delay)];
                let initial = if stream == 0 { 64 } else { 2_048 };
                let cells: Vec<Cell> = [frame.text].into_iter().chain(frame.agent).chain(frame.user).collect();
                let expected = if p <= delay { Cell::Token(initial) } else { cells[stream] };
                prop_assert_eq!(Cell::Token(value), expected, "column {}, stream {}", p, stream);
            }
        }
    }
}
