//! Every member of the family in every layout, under every name and with every habit of configuration that it is published
//! with says what the reference says: repositories that are derived from the golden ones.

#![allow(clippy::unwrap_used, clippy::panic)] // a failure is the test's answer

mod configs;
mod layouts;
mod names;
mod numbers;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use moshi_checkpoint::{OpenOptions, Parts, Repository, Source, SpeakerFile};
use moshi_cpu::Cpu;
use moshi_lm::conditions::{ConditionValues, Conditions, Sequence};
use moshi_lm::{Forward, Lm, LmConfig};
use moshi_nn::WeightSource;
use moshi_testkit::{Golden, assert_close, noise};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// A golden model: its repository, the names of its files there, and what its teacher-forced results are called.
#[derive(Debug, Clone, Copy)]
struct Member {
    golden: Golden,
    config: &'static str,
    lm: &'static str,
    mimi: &'static str,
    tokenizer: &'static str,
    results: Option<&'static str>,
    /// The voices that it is told.
    voices: &'static [&'static str],
}

const MOSHI: Member = Member {
    golden: Golden::TINY_MOSHI,
    config: "config.json",
    lm: "model.safetensors",
    mimi: "mimi.safetensors",
    tokenizer: "tokenizer.model",
    results: Some("tf"),
    voices: &[],
};
const VARIANT: Member = Member { golden: Golden::TINY_VARIANT, ..MOSHI };
const STT: Member = Member {
    golden: Golden::TINY_STT,
    mimi: "mimi-pytorch-e351c8d8@125.safetensors",
    tokenizer: "tokenizer_en_fr_audio_8000.model",
    ..MOSHI
};
const HIBIKI: Member = Member {
    golden: Golden::TINY_HIBIKI,
    lm: "hibiki-pytorch-ccef4858@200.safetensors",
    mimi: "mimi-pytorch-e351c8d8@125.safetensors",
    tokenizer: "tokenizer_spm_48k_multi6_2.model",
    ..MOSHI
};
const ZERO: Member =
    Member { golden: Golden::TINY_HIBIKI_ZERO, lm: "hibiki-pytorch-77f82164@110.safetensors", ..HIBIKI };
const TTS: Member = Member {
    golden: Golden::TINY_TTS,
    lm: "dsm_tts_a1b2c3d4@240.safetensors",
    mimi: "tokenizer-e351c8d8-checkpoint125.safetensors",
    tokenizer: "tokenizer_spm_8k_en_fr_audio.model",
    results: Some("tf_distilled"),
    voices: &["voices/anna.wav.a1b2c3d4@240.safetensors", "voices/bob.wav.a1b2c3d4@240.safetensors"],
    ..MOSHI
};
const TTS_GUIDED: Member = Member {
    config: "config_guided.json",
    lm: "dsm_tts_4d3c2b1a@241.safetensors",
    results: Some("tf_guided"),
    voices: &["voices/anna.wav.4d3c2b1a@241.safetensors", "voices/bob.wav.4d3c2b1a@241.safetensors"],
    ..TTS
};
const TTS_PREFIX: Member =
    Member { config: "config_prefix.json", lm: "dsm_tts_c3d4a1b2@241.safetensors", results: None, voices: &[], ..TTS };
const PERSONAPLEX: Member = Member {
    golden: Golden::TINY_PERSONAPLEX,
    mimi: "tokenizer-e351c8d8-checkpoint125.safetensors",
    tokenizer: "tokenizer_spm_32k_3.model",
    results: None,
    ..MOSHI
};
const FAMILY: [Member; 9] = [MOSHI, VARIANT, STT, HIBIKI, ZERO, TTS, TTS_GUIDED, TTS_PREFIX, PERSONAPLEX];

impl Member {
    fn name(&self) -> String {
        format!("{}/{}", self.golden.name(), self.config)
    }

    /// The golden repository itself.
    fn open(&self) -> Repository {
        let options = OpenOptions {
            parts: Parts::LM,
            config: Some(self.golden.path(self.config).display().to_string()),
            ..OpenOptions::default()
        };
        Repository::open(&Source::Folder(self.golden.path("")), &options, &mut ()).unwrap()
    }

    /// Its configuration as it is written.
    fn config_json(&self) -> Map<String, Value> {
        serde_json::from_str(&self.golden.text(self.config).unwrap()).unwrap()
    }

    /// Undelayed codes `[1 + n_q, steps]` that it is forced to say.
    fn codes(&self, lm: &Lm<Cpu>) -> (Vec<i32>, usize) {
        let streams = 1 + lm.config().n_q;
        if let Some(results) = self.results {
            let codes = self.golden.results().unwrap().i32(&format!("{results}_codes")).unwrap();
            let steps = codes.len() / streams;
            return (codes, steps);
        }
        let most = lm.config().card.min(lm.config().text_card).min(lm.config().text_card_out) as u64;
        ((0..streams * 20).map(|i| (noise::bits(3, i as u64) % most) as i32).collect(), 20)
    }

    /// What it is told beside its streams.
    fn told(&self, lm: &Lm<Cpu>) -> Conditions<Cpu> {
        let mut values = ConditionValues::new();
        for conditioner in &lm.config().conditioners {
            values = match conditioner.name.as_str() {
                "control" => values.text("control", "ok"),
                "cfg" => values.text("cfg", "2.0"),
                "description" => values.text("description", "very_good"),
                name => {
                    let voice = |file: &&str| {
                        let file = SpeakerFile::read(&self.golden.path(file)).unwrap();
                        Sequence::new(file.dim, file.vectors).unwrap()
                    };
                    let voices: Vec<_> = self.voices.iter().map(voice).collect();
                    values.sequence(name, Sequence::voices(&voices, 5).unwrap())
                }
            };
        }
        lm.conditions(&values).unwrap()
    }

    /// What an opened repository of this model predicts.
    fn forward(&self, repository: &Repository) -> Forward {
        self.forward_of(&repository.lm().unwrap(), &repository.config().lm)
    }

    /// What these weights predict.
    fn forward_of(&self, source: &dyn WeightSource, config: &LmConfig) -> Forward {
        let lm = Lm::load(Cpu::new(NonZeroUsize::MIN), source, config).unwrap();
        let (codes, steps) = self.codes(&lm);
        lm.forward_told(&codes, steps, Some(&self.told(&lm)), &mut ()).unwrap()
    }

    /// Checks that a repository is this model: the bits of the golden one, whose logits are the reference's.
    #[track_caller]
    fn assert_is(&self, what: &str, repository: &Repository) {
        let what = format!("{} {what}", self.name());
        let (found, expected) = (self.forward(repository), self.forward(&self.open()));
        let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&found.text_logits) == bits(&expected.text_logits), "{what}: other text");
        assert!(bits(&found.audio_logits) == bits(&expected.audio_logits), "{what}: other audio");
        assert!(bits(&found.extra_heads) == bits(&expected.extra_heads), "{what}: other heads");
        if let Some(results) = self.results {
            let text = self.golden.results().unwrap().f32(&format!("{results}_text_logits")).unwrap();
            assert_close(&what, &found.text_logits, &text, 1e-4);
        }
    }
}

/// A repository that is being made.
struct Derived(TempDir);

impl Derived {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With the language model, the codec and the tokenizer of `member` under these names, and no configuration but the
    /// codec's.
    fn of(member: &Member, lm: &str, mimi: &str, tokenizer: &str) -> Self {
        let this = Self::new();
        for (from, to) in [(member.lm, lm), (member.mimi, mimi), (member.tokenizer, tokenizer)] {
            this.link(&member.golden.path(from), to);
        }
        let config = member.golden.path("mimi_config.json");
        if config.exists() {
            this.link(&config, "mimi_config.json");
        }
        this
    }

    /// With the files of `member` under their own names.
    fn like(member: &Member) -> Self {
        Self::of(member, member.lm, member.mimi, member.tokenizer)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn link(&self, from: &Path, to: &str) {
        std::fs::copy(from, self.path(to)).unwrap();
    }

    fn write(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path(name), text).unwrap();
        self
    }

    fn config(self, config: &Map<String, Value>) -> Self {
        self.write("config.json", serde_json::to_string(config).unwrap())
    }

    fn open(&self, parts: Parts) -> Repository {
        let options = OpenOptions { parts, ..OpenOptions::default() };
        Repository::open(&Source::Folder(self.0.path().to_path_buf()), &options, &mut ())
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Takes settings away.
fn without(mut config: Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    config.retain(|key, _| !keys.contains(&key.as_str()));
    config
}

/// Changes settings.
fn with(mut config: Map<String, Value>, changes: Value) -> Map<String, Value> {
    config.extend(changes.as_object().unwrap().clone());
    config
}
