//! GGUF files: what is read, and an answer to everything else.

use moshi_checkpoint::Tensors;
use moshi_tensor::weight::{Quants, WeightData};
use proptest::prelude::*;

use crate::{assert_says, golden};

/// A file written piece by piece.
#[derive(Default)]
struct File(Vec<u8>);

impl File {
    fn new(version: u32, tensors: u64, pairs: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(version).u64(tensors).u64(pairs)
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn text(self, text: &str) -> Self {
        let mut this = self.u64(text.len() as u64);
        this.0.extend(text.as_bytes());
        this
    }

    /// A tensor of the dimensions, fastest first.
    fn tensor(self, name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Self {
        let this = self.text(name).u32(dimensions.len() as u32);
        dimensions.iter().fold(this, |f, n| f.u64(*n)).u32(kind).u64(offset)
    }

    /// Pads the header and appends the data.
    fn data(mut self, alignment: usize, data: &[u8]) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(alignment), 0);
        self.0.extend(data);
        self.0
    }
}

fn open(bytes: &[u8]) -> Result<Tensors, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    Tensors::open(&path).map_err(|e| e.to_string())
}

/// A block of scale 0.5 (f16) and integers -16..16.
fn block() -> Vec<u8> {
    [0x00, 0x38].into_iter().chain((-16i8..16).map(|i| i as u8)).collect()
}

/// Metadata of several kinds, an alignment of 64 and four tensors.
fn sample() -> Vec<u8> {
    let strings = |f: File| f.text("words").u32(9).u32(8).u64(2).text("a").text("b");
    let nested = |f: File| f.text("lists").u32(9).u32(9).u64(1).u32(4).u64(2).u32(1).u32(2);
    let file = File::new(3, 4, 4).text("general.architecture").u32(8).text("moshi");
    let file = nested(strings(file.text("general.alignment").u32(4).u32(64)));
    let file = file.tensor("q", &[32, 2], 8, 0).tensor("f", &[3], 0, 128).tensor("h", &[2], 1, 192);
    let mut data = [block(), block()].concat();
    data.resize(128, 0);
    data.extend([1f32, 2.0, -3.0].iter().flat_map(|x| x.to_le_bytes()));
    data.resize(192, 0);
    data.extend([0x00, 0x3c, 0x00, 0x40, 0x80, 0x3f, 0, 0]);
    file.tensor("b", &[1, 2], 30, 196).data(64, &data)
}

#[test]
fn every_type_and_the_metadata_are_read() {
    let tensors = open(&sample()).unwrap();
    let halves: Vec<f32> = (-16..16).map(|i| i as f32 * 0.5).collect();
    assert_eq!(tensors.matrix("q", 2, 32).unwrap().to_f32().unwrap(), [halves.clone(), halves].concat());
    assert_eq!(tensors.vector("f", &[3]).unwrap(), [1.0, 2.0, -3.0]);
    assert_eq!(tensors.vector("h", &[2]).unwrap(), [1.0, 2.0]);
    assert_eq!(tensors.vector("b", &[2, 1]).unwrap(), [1.0, 0.0]);
    assert_eq!((tensors.dtype("q").unwrap(), tensors.dtype("b").unwrap()), ("Q8_0".to_owned(), "BF16".to_owned()));
    assert_eq!(tensors.metadata().unwrap()["general.architecture"], "moshi");
}

/// Files of another folder of fixtures.
fn fixture(name: &str) -> Tensors {
    Tensors::open(&golden("../gguf").join(name)).unwrap()
}

#[test]
fn every_block_format_gives_the_reference_values_to_the_bit() {
    let (blocks, expected) = (fixture("blocks.gguf"), fixture("expected.safetensors"));
    assert_eq!(blocks.len(), 12);
    for name in blocks.names() {
        assert_eq!(blocks.dtype(name).as_deref(), Some(name));
        let found = blocks.matrix(name, 4, 512).unwrap().to_f32().unwrap();
        let expected = expected.vector(name, &[4, 512]).unwrap();
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(found == expected, "{name} {i}: {found} is not {expected}");
        }
    }
}

#[test]
fn symmetric_formats_of_few_bits_keep_their_middle_at_eight() {
    let blocks = fixture("blocks.gguf");
    for name in ["Q4_0", "Q3_K"] {
        let weight = blocks.matrix(name, 4, 512).unwrap();
        let WeightData::Grouped(g) = weight.data() else { panic!("{name}: not in groups") };
        assert_eq!(g.quants, Quants::U4);
        assert!(g.scales.iter().zip(&*g.biases).all(|(scale, bias)| *bias == -8.0 * scale), "{name}");
    }
}

#[test]
fn other_versions_and_types_are_named() {
    let one = |kind: u32, dimensions: &[u64], offset: u64| {
        open(&File::new(3, 1, 0).tensor("x", dimensions, kind, offset).data(32, &[0; 64])).unwrap_err()
    };
    assert_says(&one(16, &[256], 0), &["model.gguf", "\"x\"", "IQ2_XXS", "Q8_0"]);
    assert_says(&one(12, &[320], 0), &["rows of 320", "blocks of 256"]);
    assert_says(&one(4, &[32], 0), &["type 4"]);
    assert_says(&one(99, &[32], 0), &["type 99"]);
    assert_says(&one(8, &[33], 0), &["rows of 33", "blocks of 32"]);
    assert_says(&one(0, &[17], 0), &["\"x\"", "truncated"]);
    assert_says(&one(0, &[1], 64), &["truncated"]);
    assert_says(&one(0, &[1], u64::MAX), &["truncated"]);
    assert_says(&one(0, &[1 << 32, 1 << 32, 4], 0), &["truncated"]);
    assert_says(&one(0, &[1; 9], 0), &["9 dimensions"]);
    // No weights at all, but rows or columns beyond counting.
    for (kind, dimensions) in [(0, [8, 1 << 62, 0]), (8, [1 << 62, 0, 1]), (8, [1 << 62, 8, 0])] {
        assert_says(&one(kind, &dimensions, 0), &["\"x\"", "more than can be counted"]);
    }
    assert_says(&open(&File::new(1, 0, 0).0).unwrap_err(), &["version 1", "2 and 3"]);
    assert_says(&open(&File::new(3u32.swap_bytes(), 0, 0).0).unwrap_err(), &["big-endian"]);
    let twice = File::new(2, 2, 0).tensor("x", &[1], 0, 0).tensor("x", &[1], 0, 4);
    assert_says(&open(&twice.data(32, &[0; 8])).unwrap_err(), &["two tensors named \"x\""]);
    for alignment in [0, 48] {
        let file = File::new(3, 0, 1).text("general.alignment").u32(4).u32(alignment);
        assert_says(&open(&file.0).unwrap_err(), &["alignment"]);
    }
}

#[test]
fn counts_that_lie_meet_the_end_of_the_file() {
    let array = |kind: u32| File::new(3, 0, 1).text("a").u32(9).u32(kind).u64(u64::MAX);
    for kind in [0, 8, 9, 12] {
        assert_says(&open(&array(kind).0).unwrap_err(), &["truncated"]);
    }
    assert_says(&open(&array(77).0).unwrap_err(), &["type 77"]);
    assert_says(&open(&File::new(3, u64::MAX, 0).0).unwrap_err(), &["truncated"]);
    assert_says(&open(&File::new(3, 0, u64::MAX).0).unwrap_err(), &["truncated"]);
    assert_says(&open(&File::new(3, 0, 1).u64(u64::MAX).0).unwrap_err(), &["truncated"]);
    let nested = (0..10).fold(File::new(3, 0, 1).text("a").u32(9), |f, _| f.u32(9).u64(1));
    assert_says(&open(&nested.0).unwrap_err(), &["nest"]);
}

#[test]
fn a_truncated_file_says_so() {
    let bytes = std::fs::read(golden("tiny-moshi/model.q8.gguf")).unwrap();
    for keep in [4, 10, 23, 100, 5000, 20_000, bytes.len() / 2, bytes.len() - 64] {
        assert_says(&open(&bytes[..keep]).unwrap_err(), &["truncated"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        keep in prop::option::of(any::<prop::sample::Index>()),
        every: bool,
    ) {
        let mut bytes = if every { std::fs::read(golden("../gguf/blocks.gguf")).unwrap() } else { sample() };
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(keep.map_or(bytes.len(), |k| k.index(bytes.len())));
        if let Ok(tensors) = open(&bytes) {
            for name in tensors.names() {
                let shape = tensors.shape(name).unwrap();
                let _ = tensors.vector(name, shape);
                let rows = shape.first().copied().unwrap_or(0);
                let _ = tensors.matrix(name, rows, shape.iter().skip(1).fold(1, |a, b| a.saturating_mul(*b)));
            }
        }
    }
}
