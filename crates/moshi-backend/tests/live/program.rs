//! The program itself: options, environment, and what it prints where.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A program with an environment that holds nothing that could decide a test.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moshi-backend"));
    let decisive = |name: &str| name.starts_with("MOSHI_") || name.contains("COLOR");
    for (name, _) in std::env::vars().filter(|(name, _)| decisive(name)) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn ended(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert!(!said.contains("panicked"), "{said}");
    (status.success(), said)
}

/// A loopback that runs until it is dropped.
struct Running {
    child: Child,
    /// What it says to open.
    url: String,
    log: std::thread::JoinHandle<String>,
}

impl Running {
    fn start(command: &mut Command) -> Result<Self, String> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).map(|_| text).unwrap()
        });
        let mut said = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if let Some(url) = line.strip_prefix("open ") {
                return Ok(Self { child, url: url.to_owned(), log });
            }
            said.push_str(&line);
        }
        child.wait().unwrap();
        Err(said + &log.join().unwrap())
    }

    /// Ends it, and gives its log.
    fn end(mut self) -> String {
        // The line "ready" comes after the address.
        std::thread::sleep(Duration::from_millis(100));
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log.join().unwrap()
    }
}

fn loopback(more: &[&str]) -> Command {
    program(&[&["standalone", "--model", "loopback", "--max-sessions", "1"], more].concat())
}

#[test]
fn what_kubernetes_says_of_a_service_is_passed_over_with_one_line() {
    for (name, value) in [
        ("MOSHI_PORT", "tcp://10.0.0.12:8998"),
        ("MOSHI_PORT", "udp://10.0.0.12:53"),
        ("MOSHI_PORT", "tcp://[fd00::12]:8998"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("c.json");
        std::fs::write(&config, r#"{"port": 0}"#).unwrap();
        let more = [
            ("MOSHI_SERVICE_HOST", "10.0.0.12"),
            ("MOSHI_SERVICE_PORT", "8998"),
            ("MOSHI_SERVICE_PORT_HTTP", "8998"),
            ("MOSHI_PORT_8998_TCP", "tcp://10.0.0.12:8998"),
            ("MOSHI_PORT_8998_TCP_PROTO", "tcp"),
            ("MOSHI_PORT_8998_TCP_PORT", "8998"),
            ("MOSHI_PORT_8998_TCP_ADDR", "10.0.0.12"),
            ("MOSHI_BACKEND_PORT", "tcp://10.0.0.13:80"),
            ("MOSHI_BACKEND_SERVICE_HOST", "10.0.0.13"),
        ];
        let mut command = loopback(&["--config", config.to_str().unwrap()]);
        let running = Running::start(command.env(name, value).envs(more)).unwrap();
        assert!(!running.url.ends_with(":8998"), "the file's port: {}", running.url);
        let log = running.end();
        assert_eq!(log.lines().filter(|line| line.contains("WARN")).count(), 1, "{log}");
        assert!(log.contains(value) && log.contains("--port"), "{log}");
    }
    let (good, said) = ended(loopback(&["--port", "tcp://10.0.0.12:8998"]).env("MOSHI_PORT", "0"));
    assert!(!good && said.contains("expected a whole number"), "an option is meant: {said}");
    let (good, said) = ended(loopback(&[]).env("MOSHI_PORT", "eight"));
    assert!(!good && said.contains("environment variable MOSHI_PORT"), "{said}");
}

#[test]
fn an_empty_variable_is_none_and_blanks_around_a_value_are_nothing() {
    let names = [
        "MOSHI_CONFIG",
        "MOSHI_HOST",
        "MOSHI_QUANTIZE",
        "MOSHI_TLS",
        "MOSHI_CERT",
        "MOSHI_ALLOW_ORIGIN",
        "MOSHI_API_KEYS",
    ];
    let empty = names.map(|name| (name, ""));
    let running = Running::start(loopback(&[]).envs(empty).env("MOSHI_PORT", " 0\r")).unwrap();
    assert!(running.url.starts_with("http://localhost:"));
    running.end();
}

#[test]
fn variables_of_options_without_a_value_take_every_word_for_yes_and_no() {
    let folder = tempfile::tempdir().unwrap();
    let scheme = |host: &str, options: &[&str], environment: &[(&str, &str)]| {
        let mut command = loopback(&["--port", "0", "--host", host, "--cert-dir", folder.path().to_str().unwrap()]);
        let running = Running::start(command.args(options).envs(environment.iter().copied()));
        let running = running.unwrap_or_else(|said| panic!("{environment:?}: {said}"));
        let url = running.url.clone();
        running.end();
        url.split_once(':').unwrap().0.to_owned()
    };
    for yes in ["1", "true", "TRUE", "yes", "Yes", "on", " on "] {
        assert_eq!(scheme("0.0.0.0", &[], &[("MOSHI_NO_TLS", yes)]), "http", "{yes}");
    }
    for no in ["0", "false", "False", "no", "NO", "off", " 0\n", ""] {
        assert_eq!(scheme("0.0.0.0", &[], &[("MOSHI_NO_TLS", no)]), "https", "{no}");
        assert_eq!(scheme("127.0.0.1", &[], &[("MOSHI_TLS", no)]), "http", "{no}");
    }
    assert_eq!(scheme("127.0.0.1", &[], &[("MOSHI_TLS", "on"), ("MOSHI_NO_TLS", "0")]), "https");
    assert_eq!(scheme("127.0.0.1", &["--no-tls"], &[("MOSHI_TLS", "1")]), "http", "an option wins over a variable");
    assert_eq!(scheme("0.0.0.0", &["--no-tls"], &[("MOSHI_CERT", "a"), ("MOSHI_KEY", "b")]), "http");
    assert_eq!(scheme("127.0.0.1", &["--tls"], &[("MOSHI_NO_TLS", "yes")]), "https");
    for (command, name) in [
        (&["standalone"][..], "MOSHI_TLS"),
        (&["standalone"], "MOSHI_EXACT"),
        (&["bench"], "MOSHI_EXACT"),
        (&["bench", "--shape", "1b"], "MOSHI_PARTS"),
        (&["quality", "x"], "MOSHI_EXACT"),
        (&["quantize", "x", "y", "--type", "bf16"], "MOSHI_REQUANTIZE"),
    ] {
        let (good, said) = ended(program(command).env(name, "maybe"));
        let words = said.contains("expected 1, true, yes, on, or 0, false, no, off");
        assert!(!good && words && said.contains(&format!("environment variable {name}")), "{command:?}: {said}");
        let (good, help) = ended(program(&[command[0], "--help"]).env_remove(name));
        assert!(good && help.contains("take 1, true, yes, on, or 0, false, no, off"), "{command:?}: {help}");
    }
    let (good, said) = ended(&mut program(&["standalone", "--tls", "--no-tls"]));
    assert!(!good && said.contains("cannot be used with"), "{said}");
}

#[test]
fn colours_are_for_terminals() {
    let escapes = |command: &mut Command| {
        let running = Running::start(command).unwrap();
        let log = running.end();
        assert!(log.contains("ready"), "{log}");
        log.contains('\u{1b}')
    };
    let started = || loopback(&["--port", "0"]);
    assert!(!escapes(started().env("TERM", "xterm-256color")));
    assert!(!escapes(started().env("TERM", "xterm-256color").env("CLICOLOR", "1")));
    assert!(escapes(started().env("CLICOLOR_FORCE", "1")), "asked for");
    assert!(!escapes(started().env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1")));
    assert!(!escapes(started().env("CLICOLOR_FORCE", "1").env("MOSHI_LOG_FORMAT", "json")));
    for arguments in
        [&["--help"][..], &["standalone", "--help"], &["standalone", "--no-such"], &["bench", "--rows", "0"]]
    {
        let (_, plain) = ended(program(arguments).env("TERM", "xterm-256color"));
        assert!(!plain.contains('\u{1b}'), "{arguments:?}: {plain:?}");
        let (_, forced) = ended(program(arguments).env("CLICOLOR_FORCE", "1"));
        assert!(forced.contains('\u{1b}'), "{arguments:?}: {forced:?}");
    }
}

/// `script` gives a program a terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_has_colours_unless_it_is_dumb_or_they_are_not_wanted() {
    let seen = |environment: &[(&str, &str)]| {
        let words = format!("exec timeout 5 {} standalone --no-such", env!("CARGO_BIN_EXE_moshi-backend"));
        let mut command = Command::new("script");
        command.args(["-qec", &words, "/dev/null"]).stdin(Stdio::null());
        // Where tests run unattended, terminals count as able to show colours whatever their name.
        command.env_remove("NO_COLOR").env_remove("CI");
        let said = command.env("TERM", "xterm").envs(environment.iter().copied()).output().unwrap().stdout;
        assert!(String::from_utf8_lossy(&said).contains("no-such"));
        said.contains(&0x1b)
    };
    assert!(seen(&[]));
    assert!(!seen(&[("TERM", "dumb")]) && !seen(&[("NO_COLOR", "1")]) && !seen(&[("CLICOLOR", "0")]));
}

#[test]
fn every_way_to_write_a_host_is_taken_and_the_address_shown_answers() {
    for (host, shown) in [
        ("localhost", "localhost"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.2", "127.0.0.2"),
        ("::ffff:127.0.0.1", "localhost"),
        ("0.0.0.0", "localhost"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("[::]", "localhost"),
    ] {
        if host.contains("::") && !host.contains("ffff") && std::net::TcpListener::bind("[::1]:0").is_err() {
            continue; // No IPv6 here.
        }
        let running = Running::start(&mut loopback(&["--no-tls", "--port", "0", "--host", host])).unwrap();
        let address = running.url.strip_prefix("http://").unwrap();
        assert_eq!(address.rsplit_once(':').unwrap().0, shown, "--host {host}");
        std::net::TcpStream::connect(address).unwrap();
        let log = running.end();
        assert!(host.contains("0.0") || host == "[::]" || !log.contains("WARN"), "{log}");
    }
    for (host, words) in [
        ("http://localhost", "without http://"),
        ("localhost:8998", "--port"),
        ("[::1]:8998", "--port"),
        ("*", "0.0.0.0"),
        ("[127.0.0.1]", "such as localhost"),
        ("203.0.113.1", "--host 0.0.0.0 is every address"),
    ] {
        let (good, said) = ended(&mut loopback(&["--no-tls", "--port", "0", "--host", host]));
        assert!(!good && said.contains(words), "--host {host}: {said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for host in ["localhost", "127.0.0.1"] {
        let (good, said) = ended(&mut loopback(&["--no-tls", "--host", host, "--port", &port]));
        assert!(!good && said.contains("choose another port with --port") && said.contains(&port), "{said}");
    }
}

#[test]
fn an_option_of_another_command_has_a_hint() {
    for option in
        [["--device", "cpu"], ["--device", "reference"], ["--dtype", "f32"], ["--threads", "1"], ["-m", "loopback"]]
    {
        let mut command = program(&[&["standalone", "--port", "0"][..], &option].concat());
        command.env("MOSHI_MODEL", "loopback");
        Running::start(&mut command).unwrap_or_else(|said| panic!("{option:?}: {said}")).end();
    }
    for (arguments, words) in [
        (&["standalone", "--idle-timeout", "3"][..], "\"idle_timeout_s\" in the configuration file"),
        (&["standalone", "--watchdog-s=3"], "\"watchdog_s\" in the configuration file"),
        (&["standalone", "--hf-repo", "a/b"], "--model owner/name"),
        (&["standalone", "--seed", "3"], "docs/protocol.md"),
        (&["standalone", "--revision", "x"], "owner/name@REVISION"),
        (&["standalone", "--rows", "3"], "--rows is an option of bench"),
        (&["standalone", "--cpu"], "--device cpu"),
        (&["standalone", "loopback"], "--model loopback"),
        (&["bench", "--lm-file", "x"], "--lm-file is an option of quality"),
        (&["bench", "--port", "1"], "--port is an option of standalone"),
        (&["quality", "--model", "x"], "without an option"),
        (&["quality", "x", "--device", "cpu"], "runs on the processor"),
        (&["convert", "--model", "x"], "without an option"),
        (&["quantize", "--layout", "mlx"], "--layout is an option of convert"),
        (&["standalone", "--device", "tpu"], "auto, cpu, cuda, metal, reference"),
        (&["standalone", "--prot", "1"], "--port"),
    ] {
        let (good, said) = ended(&mut program(arguments));
        assert!(!good && said.contains(words), "{arguments:?} has no {words:?}: {said}");
    }
}

#[test]
fn strange_numbers_are_refused_in_words() {
    for arguments in [
        &["bench", "--threads", "1000000"][..],
        &["bench", "--rows", "18446744073709551615"],
        &["bench", "--rows", "-1"],
        &["bench", "--frames", "99999999999"],
        &["quality", "x", "--threads", "0"],
        &["convert", "a", "b", "--layout", "mlx", "--threads", "5000"],
        &["standalone", "--threads", "99999999"],
        &["standalone", "--port", "-1"],
        &["standalone", "--port", "65536"],
        &["standalone", "--drain", "99999999999"],
        &["standalone", "--max-sessions", "0"],
        &["standalone", "--max-sessions", "99999999999999999999"],
        &["standalone", "--hsts", "-1"],
        &["standalone", "--queue", "10001"],
    ] {
        let (good, said) = ended(&mut program(arguments));
        assert!(!good && said.contains("error: ") && !said.contains("overflow"), "{arguments:?}: {said}");
    }
}

#[test]
fn keys_that_are_no_keys_do_not_open_the_house() {
    for keys in [",", " , ", "short"] {
        let (good, said) = ended(loopback(&["--port", "0"]).env("MOSHI_API_KEYS", keys));
        assert!(!good && (said.contains("MOSHI_API_KEYS") || said.contains("a key has")), "{keys:?}: {said}");
    }
    #[cfg(unix)]
    {
        let strange = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\xfe-key-of-the-house");
        let (good, said) = ended(loopback(&["--port", "0"]).env("MOSHI_API_KEYS", strange));
        assert!(!good && said.contains("MOSHI_API_KEYS: not UTF-8"), "{said}");
    }
}

#[test]
fn a_log_filter_that_makes_no_sense_is_told() {
    let running = Running::start(loopback(&["--port", "0"]).env("MOSHI_LOG", "moshi=loud")).unwrap();
    let log = running.end();
    assert!(log.contains("MOSHI_LOG is \"moshi=loud\"") && log.contains("ready"), "{log}");
}
