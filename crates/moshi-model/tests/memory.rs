//! What a model takes is known before its first frame, and more than there is room for is refused.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use moshi_checkpoint::{OpenOptions, Repository, Source};
use moshi_engine::{EngineError, ModelMemory};
use moshi_model::{Device, LoadOptions, Loaded, load_model};
use moshi_testkit::Golden;

fn load(device: Device, exact: bool) -> Loaded {
    let source = Source::Folder(Golden::TINY_MOSHI.path(""));
    let repository = Repository::open(&source, &OpenOptions::default(), &mut ()).unwrap();
    load_model(&repository, "tiny", &LoadOptions { device, exact, ..LoadOptions::default() }).unwrap()
}

/// Values that a row of the golden model keeps at least: keys and values of two transformers of Mimi and of the temporal
/// transformer, each as many layers as wide as its window is long.
const LEAST: u64 = 2 * 2 * 20 * 32;

#[test]
fn weights_and_sessions_are_counted_on_every_executor() {
    let file = |name: &str| std::fs::metadata(Golden::TINY_MOSHI.path(name)).unwrap().len();
    let files = file("model.safetensors") + file("mimi.safetensors");
    let wanted = [(Device::Cpu, false), (Device::Cpu, true), (Device::Reference, false)];
    for (device, exact) in wanted.into_iter().filter(|(device, _)| device.is_built()) {
        let memory = load(device, exact).model.info().memory;
        assert!((files / 2..4 * files).contains(&memory.weights), "{device:?}: {memory:?}, files of {files}");
        assert!(memory.session > LEAST, "{device:?}: {memory:?}");
        assert_eq!(memory.sessions(), memory.free.map(|free| free / memory.session));
    }
    let (exact, rounded) = (load(Device::Cpu, true), load(Device::Cpu, false));
    let session = |loaded: &Loaded| loaded.model.info().memory.session;
    assert!(session(&rounded) < session(&exact), "keys of half the width take less");
}

#[test]
fn more_sessions_than_fit_are_refused_with_the_number_that_fits() {
    let loaded = load(Device::Cpu, false);
    let memory = loaded.model.info().memory;
    let Some(most) = memory.sessions() else { return };
    assert!(loaded.model.new_rows(2).is_ok());
    let Err(EngineError::Load(why)) = loaded.model.new_rows(usize::MAX / 4) else { panic!("there is no such memory") };
    assert!(why.contains(&format!("at most {most} fit")), "{why}");
}

#[test]
fn what_fits_is_a_matter_of_whole_sessions() {
    let memory = ModelMemory { weights: 1, session: 10, free: Some(39) };
    assert_eq!(memory.sessions(), Some(3));
    assert!(memory.check(3).is_ok() && memory.check(4).is_err());
    let tight = ModelMemory { free: Some(9), ..memory };
    assert!(tight.check(1).is_ok() && tight.check(2).is_err(), "one is always let in");
    assert!(ModelMemory { session: 0, ..memory }.check(1 << 40).is_ok(), "who takes nothing always fits");
    assert!(ModelMemory { free: None, ..memory }.check(1 << 40).is_ok(), "nobody knows");
}
