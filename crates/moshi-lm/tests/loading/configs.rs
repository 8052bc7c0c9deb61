//! Configurations with the habits of all published ones.

use std::fmt::Write;
use std::num::NonZeroUsize;

use moshi_checkpoint::Parts;
use moshi_checkpoint::config::ModelType;
use moshi_checkpoint::export::{Export, Numbers, WriteLayout, write_model};
use serde_json::{Map, Value, json};

use crate::{Derived, FAMILY, HIBIKI, MOSHI, Member, PERSONAPLEX, STT, TTS, TTS_PREFIX, VARIANT, ZERO, with, without};

/// The model of `member` with this configuration.
fn opened(member: &Member, config: &Map<String, Value>) -> moshi_checkpoint::Repository {
    Derived::like(member).config(config).open(Parts::LM)
}

#[test]
fn null_and_empty_lists_mean_no() {
    let may_miss = [
        "kv_repeat",
        "layer_scale",
        "extra_heads_num_heads",
        "extra_heads_dim",
        "cross_attention",
        "conditioners",
        "fuser",
        "demux_second_stream",
        "demux_second_text_stream",
        "norm_emb",
        "bias_proj",
        "text_card_out",
        "depformer_norm",
        "depformer_kv_repeat",
        "depformer_low_rank_embeddings",
        "depformer_weights_per_step_schedule",
        "depformer_context",
        "depformer_max_period",
        "depformer_layer_scale",
        "depformer_gating",
        "tts_config",
        "stt_config",
        "model_id",
        "existing_text_padding_id",
        "existing_text_end_padding_id",
        "lora",
        "lora_name",
        "lora_rank",
        "lora_scaling",
        "lm_gen_config",
        "mimi_config_name",
        "depformer_causal",
        "rag_token_id",
    ];
    for member in FAMILY.into_iter().filter(|member| !member.config_json().is_empty()) {
        for no in [Value::Null, json!([])] {
            let mut config = member.config_json();
            for key in may_miss {
                config.entry(key).or_insert(no.clone());
            }
            let repository = opened(&member, &config);
            assert_eq!(repository.warnings(), Vec::<String>::new(), "{}", member.name());
            member.assert_is(&format!("with {no}"), &repository);
        }
    }
}

#[test]
fn what_the_file_tells_need_not_be_said() {
    for (member, keys) in [
        (STT, &["extra_heads_num_heads", "extra_heads_dim"][..]),
        (VARIANT, &["extra_heads_num_heads", "extra_heads_dim", "depformer_norm", "depformer_low_rank_embeddings"]),
        (HIBIKI, &["depformer_low_rank_embeddings", "existing_text_padding_id", "cross_attention"]),
        (ZERO, &["depformer_norm"]),
        (TTS, &["demux_second_stream", "demux_second_text_stream", "cross_attention", "model_type", "model_id"]),
        (TTS_PREFIX, &["demux_second_stream", "demux_second_text_stream", "cross_attention", "model_type"]),
        (STT, &["model_type", "existing_text_padding_id", "model_id", "lm_gen_config", "conditioners"]),
    ] {
        let repository = opened(&member, &without(member.config_json(), keys));
        assert_eq!(repository.warnings(), Vec::<String>::new(), "{} without {keys:?}", member.name());
        member.assert_is(&format!("without {keys:?}"), &repository);
        assert_eq!(repository.config().model_type, member.open().config().model_type, "{}", member.name());
    }
}

#[test]
fn extra_heads_that_only_the_configuration_has_are_left_out_with_a_remark() {
    let config = with(MOSHI.config_json(), json!({"extra_heads_num_heads": 4, "extra_heads_dim": 6}));
    let repository = opened(&MOSHI, &config);
    assert_eq!(repository.config().lm.extra_heads_num_heads, 0);
    assert!(repository.warnings().join(" ").contains("4 extra heads"), "{:?}", repository.warnings());
    MOSHI.assert_is("with heads in name only", &repository);
}

#[test]
fn both_spellings_of_a_setting_are_read() {
    for (old, new) in
        [("demux_second_stream", "demux_second_text_stream"), ("demux_second_text_stream", "demux_second_stream")]
    {
        let config = with(without(TTS.config_json(), &[old]), json!({new: true}));
        TTS.assert_is(new, &opened(&TTS, &config));
    }
    let sampling = |member: &Member, spelled: Value| {
        let found =
            opened(member, &with(member.config_json(), json!({"lm_gen_config": spelled}))).config().lm_gen_config;
        (found.temp, found.temp_text, found.top_k, found.top_k_text)
    };
    assert_eq!(sampling(&TTS, json!({"temp": 0.5, "text_temp": 0.25})), (0.5, 0.25, 250, 25));
    assert_eq!(
        sampling(&HIBIKI, json!({"temp": 0.5, "temp_text": 0.25, "top_k": 9, "top_k_text": null})),
        (0.5, 0.25, 9, 25)
    );
    assert_eq!(sampling(&HIBIKI, json!([])), (0.8, 0.7, 250, 25));
}

#[test]
fn the_arguments_of_the_pytorch_constructor_are_a_configuration() {
    let names =
        ["moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name", "model_type", "lm_gen_config", "model_id"];
    for member in [MOSHI, VARIANT] {
        let made = Derived::of(
            &member,
            "model.safetensors",
            "tokenizer-e351c8d8-checkpoint125.safetensors",
            "tokenizer_spm_32k_3.model",
        );
        let kwargs = serde_json::to_string(&without(member.config_json(), &names)).unwrap();
        let made = made.write("moshi_lm_kwargs.json", kwargs);
        member.assert_is("moshi_lm_kwargs.json", &made.open(Parts::ALL));
    }
}

#[test]
fn a_dialogue_that_predicts_the_user_runs_without_that() {
    let said = PERSONAPLEX.open().config().to_json();
    let twice = |value: &Value| {
        let half = value.as_array().unwrap().clone();
        Value::Array(half.iter().chain(&half).cloned().collect())
    };
    let mut config = with(said.as_object().unwrap().clone(), json!({"dep_q": 16, "depformer_context": 16}));
    if config["depformer_dim_feedforward"].is_array() {
        config["depformer_dim_feedforward"] = twice(&config["depformer_dim_feedforward"]);
    }
    let repository = opened(&PERSONAPLEX, &config);
    assert_eq!(repository.config().lm.dep_q, 8);
    assert_eq!(repository.warnings(), Vec::<String>::new());
    PERSONAPLEX.assert_is("with 16 steps named", &repository);
}

/// A transformer as the Rust programs describe it; their nominal width is four times the model's where the block has 11/4.
fn table(config: &Map<String, Value>, prefix: &str, nominal: usize) -> String {
    let get = |key: &str| config.get(&format!("{prefix}{key}")).or(config.get(key)).cloned().unwrap_or(json!(1));
    let positions = if prefix.is_empty() { "Rope" } else { "None" };
    format!(
        "d_model = {}\nnum_heads = {}\nnum_layers = {}\ndim_feedforward = {nominal}\ncausal = true\nnorm_first = true\n\
         bias_ff = false\nbias_attn = false\ncontext = {}\nmax_period = {}\nuse_conv_block = false\nuse_conv_bias = true\n\
         gating = \"silu\"\nnorm = \"RmsNorm\"\npositional_embedding = \"{positions}\"\nconv_layout = false\n\
         conv_kernel_size = 3\nkv_repeat = 1\nmax_seq_len = 4096\n",
        get("dim"),
        get("num_heads"),
        get("num_layers"),
        get("context"),
        get("max_period").as_f64().unwrap() as u64,
    )
}

/// A member as the Rust programs describe it, below the table `at`.
fn toml(member: &Member, at: &str) -> String {
    let config = member.config_json();
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    let mut text = format!(
        "text_in_vocab_size = {}\ntext_out_vocab_size = {}\naudio_vocab_size = {}\naudio_codebooks = {}\n",
        number("text_card") + 1,
        number("text_card"),
        number("card") + 1,
        number("n_q"),
    );
    write!(text, "[{at}transformer]\n{}", table(&config, "", 4 * number("dim"))).unwrap();
    if number("dep_q") > 0 {
        let rank = config
            .get("depformer_low_rank_embeddings")
            .map_or(String::new(), |r| format!("low_rank_embeddings = {r}\n"));
        write!(text, "[{at}depformer]\nnum_slices = {}\n{rank}", number("dep_q")).unwrap();
        let nominal = config["depformer_dim_feedforward"].as_u64().unwrap() as usize;
        write!(text, "[{at}depformer.transformer]\n{}", table(&config, "depformer_", nominal)).unwrap();
    }
    if config.contains_key("extra_heads_dim") {
        write!(text, "[{at}extra_heads]\nnum_heads = 4\ndim = 6\n").unwrap();
    }
    if config.get("conditioners").is_some_and(|known| !known.as_object().unwrap().is_empty()) {
        let values = "[\"very_bad\", \"bad\", \"neutral\", \"good\", \"very_good\"]";
        write!(
            text,
            "[{at}conditioners.description]\ntype = \"Lut\"\nn_bins = 31\ndim = 16\npossible_values = {values}\n"
        )
        .unwrap();
    }
    text
}

/// The files of a member as the Rust programs have them.
fn in_rust(member: &Member, lm: &str) -> Derived {
    let made = Derived::like(member);
    std::fs::remove_file(made.path(member.lm)).unwrap();
    let export =
        Export { layout: WriteLayout::Candle, numbers: Numbers::Keep, requantize: false, threads: NonZeroUsize::MIN };
    write_model(&member.open(), &made.path(lm), &export, &mut |_, _| ()).unwrap();
    made
}

#[test]
fn configurations_of_the_published_rust_programs_are_read() {
    for (member, kind) in [(HIBIKI, ModelType::Hibiki), (STT, ModelType::Stt)] {
        // Sizes alone, as their command line takes them; with the names of the files, as a repository has them.
        let bare = in_rust(&member, "model.safetensors").write("config.toml", toml(&member, ""));
        let lm = "hibiki-rs-220b12c0@200.safetensors";
        let names = format!(
            "moshi_name = \"{lm}\"\nmimi_name = \"{}\"\ntokenizer_name = \"{}\"\n",
            member.mimi, member.tokenizer
        );
        let text = format!("{names}[model]\n{}", toml(&member, "model."));
        for made in [bare, in_rust(&member, lm).write("config.toml", text)] {
            let repository = made.open(Parts::ALL);
            assert_eq!(repository.warnings(), Vec::<String>::new());
            assert_eq!(repository.config().model_type, kind);
            member.assert_is("config.toml", &repository);
        }
    }
}

#[test]
fn a_module_of_the_published_server_is_a_configuration() {
    let names = format!(
        "static_dir = \"./static/\"\nauthorized_ids = [\"public_token\"]\n[modules.asr]\npath = \"/api/asr-streaming\"\n\
         type = \"BatchedAsr\"\nlm_model_file = \"model.safetensors\"\ntext_tokenizer_file = \"{}\"\n\
         audio_tokenizer_file = \"{}\"\nasr_delay_in_tokens = 6\nbatch_size = 64\ntemperature = 0.25\n",
        STT.tokenizer, STT.mimi
    );
    let text = format!("{names}[modules.asr.model]\n{}", toml(&STT, "modules.asr.model."));
    let repository = in_rust(&STT, "model.safetensors").write("config.toml", text).open(Parts::ALL);
    STT.assert_is("config.toml of the server", &repository);
    let config = repository.config();
    assert_eq!(config.stt_config, Some(json!({"audio_delay_seconds": 0.48})));
    assert!((config.lm_gen_config.temp_text - 0.25).abs() < 1e-6);
}

#[test]
fn what_no_program_could_mean_is_refused_in_words() {
    let refusal = |text: &str| {
        let made = Derived::like(&STT).write("config.toml", text);
        let source = moshi_checkpoint::Source::Folder(made.path(""));
        moshi_checkpoint::Repository::open(&source, &Default::default(), &mut ()).unwrap_err().to_string()
    };
    let good = toml(&STT, "");
    for (text, parts) in [
        ("a = [", vec!["config.toml", "TOML"]),
        ("[modules.tts]\ntype = \"Py\"\n", vec!["modules.*.model", "missing"]),
        ("audio_codebooks = 8\n", vec!["transformer", "missing"]),
        (&good.replace("num_heads = 4\nnum_layers", "num_heads = 5\nnum_layers"), vec!["num_heads", "5", "divisor"]),
        (&good.replace("\"silu\"", "\"relu\""), vec!["transformer.gating", "relu", "silu"]),
        (&good.replace("causal = true", "causal = false"), vec!["transformer.causal", "false"]),
    ] {
        let message = refusal(text);
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}
