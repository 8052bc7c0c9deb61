//! Configuration files: those in config/, the published server's, and wrong ones.

use std::path::Path;

use moshi_backend::config::{ModelSource, ServerConfig, TlsChoice};

fn read(text: &str) -> Result<ServerConfig, String> {
    ServerConfig::from_json(Path::new("config/x.json"), text).map_err(|e| e.to_string())
}

#[test]
fn every_file_in_config_loads_as_it_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let config = ServerConfig::load(&path).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        assert_eq!(config.instance_name, path.file_stem().unwrap().to_str().unwrap());
        if let ModelSource::Repo(repo) = &config.model.source {
            assert_eq!(repo, &format!("kyutai/{}", config.instance_name));
        }
        seen += 1;
    }
    assert_eq!(seen, 16);
}

#[test]
fn the_published_servers_file_is_understood() {
    let config = read(
        r#"{"instance_name": "foo", "hf_repo": "kyutai/moshiko-candle-q8", "lm_model_file": "/m/model.q8.gguf",
            "text_tokenizer_file": "/m/tokenizer_spm_32k_3.model", "log_dir": "/m/logs",
            "encodec_model_file": "/m/mimi.safetensors", "encodec_num_codebooks": 8, "static_dir": "../client/dist",
            "addr": "0.0.0.0", "port": 8998, "cert_dir": ".", "batch_size": 3, "lm_config": null,
            "use_cpu_for_mimi": false}"#,
    )
    .unwrap();
    assert_eq!(config.model.source, ModelSource::Repo("kyutai/moshiko-candle-q8".to_owned()));
    assert_eq!(config.model.mimi_model_file.as_deref(), Some("hf://kyutai/moshiko-candle-q8/mimi.safetensors"));
    assert_eq!(config.model.lm_model_file.as_deref(), Some("hf://kyutai/moshiko-candle-q8/model.q8.gguf"));
    assert_eq!((config.host.as_str(), config.port, config.max_sessions), ("0.0.0.0", 8998, 3.into()));
    assert_eq!((config.tls, config.cert_dir.as_deref()), (TlsChoice::Auto, Some(Path::new("."))));
    let without_effect = ["log_dir", "encodec_num_codebooks", "use_cpu_for_mimi"];
    assert_eq!(config.warnings.len(), without_effect.len(), "{:?}", config.warnings);
    assert!(config.warnings.iter().zip(without_effect).all(|(told, key)| told.contains(key)), "{:?}", config.warnings);
}

#[test]
fn files_are_looked_for_where_they_are_in_the_models_folder_and_in_its_repository() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("mimi.safetensors");
    std::fs::write(&there, "").unwrap();
    let (folder, there) = (folder.path().to_str().unwrap(), there.to_str().unwrap());
    let mimi = |text: String| read(&text).unwrap().model.mimi_model_file.unwrap();
    assert_eq!(mimi(format!(r#"{{"hf_repo": "a/b", "mimi_model_file": "{there}"}}"#)), there);
    assert_eq!(
        mimi(r#"{"hf_repo": "a/b", "mimi_model_file": "mimi.safetensors"}"#.into()),
        "hf://a/b/mimi.safetensors"
    );
    assert_eq!(mimi(format!(r#"{{"model": "{folder}", "mimi_model_file": "mimi.safetensors"}}"#)), there);
    assert_eq!(mimi(r#"{"mimi_model_file": "hf://c/d/e"}"#.into()), "hf://c/d/e");
}

#[test]
fn a_repository_may_have_a_revision_wherever_it_is_named() {
    for model in ["a/b@v1.0", "a/b@refs/pr/1", "hf://a/b@v1.0", "hf://a/b", "https://huggingface.co/a/b/tree/v1.0"] {
        let source = ModelSource::Repo(model.to_owned());
        assert_eq!(ModelSource::parse(model).unwrap(), source);
        assert_eq!(read(&format!(r#"{{"model": "{model}"}}"#)).unwrap().model.source, source);
        assert_eq!(read(&format!(r#"{{"hf_repo": "{model}"}}"#)).unwrap().model.source, source);
    }
    let file = |repo: &str| {
        let text = format!(r#"{{"model": "{repo}", "mimi_model_file": "m.safetensors"}}"#);
        read(&text).unwrap().model.mimi_model_file.unwrap()
    };
    assert_eq!(file("a/b@v1.0"), "hf://a/b@v1.0/m.safetensors");
    assert_eq!(file("hf://a/b@refs/pr/1"), "hf://a/b@refs%2Fpr%2F1/m.safetensors");
    for bad in ["a/b@", "a/b@../x", "a@v1/b", "hf://a"] {
        assert!(ModelSource::parse(bad).unwrap_err().contains("owner/name@revision"), "{bad}");
        assert!(read(&format!(r#"{{"model": "{bad}"}}"#)).unwrap_err().contains("owner/name@revision"), "{bad}");
    }
}

#[test]
fn paths_may_name_environment_variables() {
    let home = std::env::var("HOME").unwrap();
    let config = read(r#"{"lm_model_file": "$HOME/model.safetensors"}"#).unwrap();
    assert_eq!(config.model.source, ModelSource::Path(format!("{home}/model.safetensors").into()));
}

#[test]
fn wrong_files_are_named_with_key_found_and_expected() {
    for (text, words) in [
        (r#"{"prot": 1}"#, &["config/x.json", "unknown key \"prot\"", "did you mean \"port\"?"][..]),
        (r#"{"mimi_model": 1}"#, &["unknown key", "did you mean \"mimi_model_file\"?"]),
        (r#"{"zzzzqq": 1}"#, &["unknown key", "docs/server.md"]),
        (r#"{"port": 70000}"#, &["\"port\" is 70000", "a whole number from 0 to 65535"]),
        (r#"{"port": "8998"}"#, &["\"port\" is \"8998\"", "a whole number"]),
        (r#"{"max_sessions": 0}"#, &["\"max_sessions\" is 0", "from 1"]),
        (r#"{"host": 3}"#, &["\"host\" is 3", "a text in quotes"]),
        (r#"{"tls": "yes"}"#, &["\"tls\" is \"yes\"", "true or false"]),
        (r#"{"allowed_origins": "x"}"#, &["\"allowed_origins\"", "a list of texts"]),
        (r#"{"idle_timeout_s": -1}"#, &["\"idle_timeout_s\" is -1", "seconds"]),
        (r#"{"ping_interval_s": 0}"#, &["\"ping_interval_s\"", "more than 0"]),
        (r#"{"watchdog_s": 1}"#, &["\"watchdog_s\" is 1", "at least 2 seconds"]),
        (r#"{"hsts_s": -1}"#, &["\"hsts_s\" is -1", "a whole number"]),
        (r#"{"device": "tpu"}"#, &["\"device\" is \"tpu\"", "auto, cpu, cuda, metal"]),
        (r#"{"host": "http://localhost"}"#, &["\"host\" is", "without http://"]),
        (r#"{"addr": "localhost:8998"}"#, &["\"addr\" is", "the port is set apart"]),
        (r#"{"host": ""}"#, &["\"host\" is \"\"", "a name or address"]),
        (r#"{"allowed_origins": ["talk.example"]}"#, &["\"allowed_origins\" is", "did you mean https://talk.example?"]),
        (r#"{"allowed_origins": [1]}"#, &["\"allowed_origins\" is [1]", "a list of texts"]),
        (r#"{"allowed_hosts": ["https://talk.example"]}"#, &["\"allowed_hosts\" is", "without https://"]),
        (r#"{"trusted_proxies": ["nginx"]}"#, &["\"trusted_proxies\" is \"nginx\"", "10.0.0.0/8"]),
        (r#"{"trusted_proxies": "*"}"#, &["\"trusted_proxies\"", "a list of texts"]),
        (r#"{"record_dir": ""}"#, &["\"record_dir\" is \"\"", "a path"]),
        (r#"{"api_key_file": " "}"#, &["\"api_key_file\"", "a path"]),
        (r#"{"threads": 1000000}"#, &["\"threads\" is 1000000", "from 1 to 1024"]),
        (r#"{"exact": "yes"}"#, &["\"exact\"", "true or false"]),
        (r#"{"model": "no such thing"}"#, &["\"model\"", "repository id"]),
        (r#"{"log_format": "xml"}"#, &["\"log_format\"", "\"json\""]),
        (r#"[1]"#, &["config/x.json", "found a list", "an object"]),
        (r#"{"port": 1,}"#, &["config/x.json", "not JSON", "line 1"]),
        (r#"{"addr": "a", "host": "b"}"#, &["\"addr\" and \"host\" contradict"]),
        ("", &["config/x.json", "found nothing", "an object"]),
        (" \n", &["found nothing"]),
        ("\u{feff}", &["found nothing"]),
        ("null", &["found null"]),
        (r#"{"port": 1e999}"#, &["not JSON"]),
        (r#"{"drain_s": 1e308}"#, &["\"drain_s\" is 1e+308", "seconds from 0"]),
        (r#"{"model": "a/b", "hf_repo": "c/d"}"#, &["\"model\" and \"hf_repo\" contradict", "keep one"]),
        (r#"{"max_sessions": 2, "batch_size": 3}"#, &["contradict"]),
        (r#"{"cert_file": "a.pem"}"#, &["\"cert_file\" and \"key_file\" contradict", "both or neither"]),
        (r#"{"tls": false, "cert_file": "a", "key_file": "b"}"#, &["\"cert_file\" and \"tls\" contradict"]),
        (r#"{"backlog_limit_frames": 2, "backlog_target_frames": 3}"#, &["contradict", "3 frames"]),
        (r#"{"pong_timeout_s": 1, "ping_interval_s": 2}"#, &["contradict", "longer"]),
        (r#"{"port": 1, "port": 2}"#, &["\"port\"", "twice"]),
    ] {
        let error = read(text).expect_err(text);
        for word in words {
            assert!(error.contains(word), "{word:?} is missing in {error:?} for {text}");
        }
    }
    let missing = ServerConfig::load(Path::new("no/such.json")).unwrap_err().to_string();
    assert!(missing.starts_with("no/such.json: cannot read it"), "{missing}");
}

/// Every key, with values that make no sense: an error in words, or taken, but never a panic.
#[test]
fn no_value_of_any_key_is_too_strange() {
    let numbers = ["0", "-0.0", "-1", "1", "1e308", "-1e308", "1e-320", "18446744073709551616", "9223372036854775807"];
    let others =
        ["null", "true", "\"\"", "\"\\u0000\"", "\"$\"", "\"${\"", "[]", "[null]", "[[]]", "{}", "{\"a\": [1]}"];
    for key in ServerConfig::keys() {
        for value in numbers.iter().chain(&others) {
            if let Err(error) = read(&format!("{{\"{key}\": {value}}}")) {
                assert!(error.starts_with("config/x.json: ") && error.len() < 400, "{key} {value}: {error}");
            }
        }
    }
    for text in ["[".repeat(100_000), format!("{}1", "{\"port\":".repeat(100_000)), "{\"port\"".to_owned()] {
        assert!(read(&text).unwrap_err().contains("not JSON"));
    }
}

#[test]
fn a_file_of_another_editor_is_read_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.json");
    let load = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        ServerConfig::load(&file).map_err(|error| error.to_string())
    };
    let text = "{\r\n \"port\": 9000\r\n}\r\n";
    assert_eq!(load(format!("\u{feff}{text}").as_bytes()).unwrap().port, 9000);
    assert_eq!(read(&format!("\u{feff}{text}")).unwrap().port, 9000);
    for (mark, bytes) in
        [(true, u16::to_le_bytes as fn(u16) -> [u8; 2]), (true, u16::to_be_bytes), (false, u16::to_le_bytes)]
    {
        let marked = if mark { format!("\u{feff}{text}") } else { text.to_owned() };
        let error = load(&marked.encode_utf16().flat_map(bytes).collect::<Vec<u8>>()).unwrap_err();
        assert!(error.contains("c.json") && error.contains("UTF-16") && error.contains("save it as UTF-8"), "{error}");
    }
    let error = load(b"{\n\"instance_name\": \"M\xfcller\"}").unwrap_err();
    assert!(error.contains("line 2 is not UTF-8"), "{error}");
    let error = ServerConfig::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("cannot read it"), "{error}");
    let error = load(&vec![b' '; 5 << 20]).unwrap_err();
    assert!(error.contains("4 MiB"), "{error}");
}

#[test]
fn options_win_over_the_file() {
    use moshi_backend::commands::standalone::StandaloneArgs;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.json");
    std::fs::write(
        &file,
        r#"{"hf_repo": "kyutai/a", "lm_model_file": "x", "port": 1, "cert_file": "c", "key_file": "k", "threads": 3,
            "device": "cpu", "exact": true}"#,
    )
    .unwrap();
    let args = StandaloneArgs {
        config: Some(file),
        model: Some("loopback".to_owned()),
        port: Some(2),
        no_tls: true,
        dtype: Some("f32".to_owned()),
        ..StandaloneArgs::default()
    };
    let config = args.to_config().unwrap();
    assert_eq!((&config.model.source, &config.model.lm_model_file), (&ModelSource::Loopback, &None));
    let model = &config.model;
    assert_eq!((model.threads.map(usize::from), model.exact), (Some(3), true), "how it runs is not the model's name");
    assert_eq!((model.device.as_deref(), model.dtype.as_deref()), (Some("cpu"), Some("f32")));
    assert_eq!((config.port, config.tls, config.certificate), (2, TlsChoice::Off, None));
    let wrong = StandaloneArgs { model: Some("no/such/model".to_owned()), ..StandaloneArgs::default() };
    let error = format!("{:#}", wrong.to_config().unwrap_err());
    assert!(error.contains("--model") && error.contains("no/such/model"), "{error}");
}
