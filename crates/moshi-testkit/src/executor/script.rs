//! Long random sequences of every operation, with rows coming and going: two executors that run the same script must
//! agree, and one must agree with itself to the bit wherever and however it runs.

use moshi_nn::HostWeight;
use moshi_nn::backend::{
    AttentionSpec, Backend, Column, ConvSpec, HeadRope, MatrixSpec, Padding, Precision, RingSpec, Rope, RopeLayout,
    RowSampling, SamplingParams, SilentTokens, Span, WindowSpec,
};

use crate::{assert_close, noise};

const ROWS: usize = 3;
const MAX_CHUNK: usize = 3;
/// Width of the stream that runs through all operations: whole blocks of integers, no whole groups of outputs.
const C: usize = 48;
const BINS: usize = 19;
const VOCABULARY: usize = 37;
const ROPE: HeadRope = HeadRope { head_dim: 12, rope: Rope { max_period: 10_000.0, layout: RopeLayout::Interleaved } };
const ATTENTION: AttentionSpec =
    AttentionSpec { heads: 4, kv_heads: 2, head_dim: ROPE.head_dim, context: 5, rope: Some(ROPE.rope) };
const CONVS: [ConvSpec; 4] = [
    ConvSpec { kernel: 3, stride: 1, dilation: 1, elu_input: true },
    ConvSpec { kernel: 3, stride: 1, dilation: 2, elu_input: false },
    ConvSpec { kernel: 1, stride: 1, dilation: 1, elu_input: false },
    ConvSpec { kernel: 1, stride: 1, dilation: 1, elu_input: true },
];
const DOWN: ConvSpec = ConvSpec { kernel: 4, stride: 2, dilation: 1, elu_input: false };
const CODES: usize = 3;
const SILENT: SilentTokens = SilentTokens { padding: 3, end_padding: 0 };

/// Numbers that decide what happens next: the same for every executor.
pub(super) struct Dice {
    seed: u64,
    rolled: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, rolled: 0 }
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.rolled += 1;
        (noise::bits(self.seed, self.rolled) % n as u64) as usize
    }

    pub(super) fn signal(&mut self, len: usize) -> Vec<f32> {
        self.rolled += 1;
        noise::signal(self.seed.wrapping_add(self.rolled << 20), len)
    }

    fn flags(&mut self) -> [bool; ROWS] {
        std::array::from_fn(|_| self.below(3) > 0)
    }
}

/// What an operation gave: its name and the numbers or tokens of the active rows.
pub type Given = (String, Vec<f32>);

/// Weights and memory of the script.
struct Bench<B: Backend> {
    b: B,
    precision: Precision,
    qkv: B::Matrix,
    linear: B::Matrix,
    wide: B::Matrix,
    convs: Vec<(B::Matrix, B::Window)>,
    down: (B::Matrix, B::Window),
    up: (B::Buf, B::Window),
    table: B::Table,
    codebook: B::Codebook,
    head: B::Matrix,
    vectors: [B::Buf; 3],
    ring: B::Ring,
    memory: B::Ring,
    rows: B::Rows,
    sampler: B::Sampler,
    x: B::Buf,
    y: B::Buf,
    ids: B::Ids,
    status: B::Ids,
    positions: [u64; ROWS],
    active: [bool; ROWS],
    t: usize,
    given: Vec<Given>,
}

fn window<B: Backend>(
    b: &B,
    spec: &ConvSpec,
    (rows, precision): (usize, Precision),
    max_chunk: usize,
    padding: Padding,
) -> B::Window {
    let history = (spec.kernel - 1) * spec.dilation + 1 - spec.stride;
    b.window(&WindowSpec { rows, channels: C, history, max_chunk, padding, precision }).unwrap()
}

pub(super) fn vector<B: Backend>(b: &B, values: &[f32]) -> B::Buf {
    let mut buf = b.buf(values.len()).unwrap();
    b.upload(values, &mut buf).unwrap();
    buf
}

impl<B: Backend> Bench<B> {
    fn new(b: B, precision: Precision, dice: &mut Dice) -> Self {
        let mut matrix = |n: usize, k: usize, spec: MatrixSpec| -> B::Matrix {
            let scaled: Vec<f32> = dice.signal(n * k).iter().map(|x| x * (3.0 / k as f32).sqrt()).collect();
            let bias = dice.signal(n);
            b.matrix(&HostWeight::from_f32(n, k, scaled).unwrap(), Some(&bias), spec).unwrap()
        };
        let (flat, conv) = (MatrixSpec::linear(precision), MatrixSpec::conv(precision, C));
        let (qkv, linear, wide) = (matrix(2 * C, C, flat), matrix(C, C, flat), matrix(2 * C, C, flat));
        let convs = CONVS
            .iter()
            .map(|spec| {
                (matrix(C, spec.kernel * C, conv), window(&b, spec, (ROWS, precision), MAX_CHUNK, Padding::Zero))
            })
            .collect();
        let down =
            (matrix(C, DOWN.kernel * C, conv), window(&b, &DOWN, (ROWS, precision), 2 * MAX_CHUNK, Padding::Replicate));
        let head = matrix(VOCABULARY, C, flat);
        let up_spec = WindowSpec {
            rows: ROWS,
            channels: C,
            history: 1,
            max_chunk: MAX_CHUNK,
            padding: Padding::Zero,
            precision: Precision::Exact,
        };
        let attention = RingSpec { rows: ROWS, attention: ATTENTION, max_chunk: MAX_CHUNK, precision };
        let table = HostWeight::from_f32(BINS + 1, C, dice.signal((BINS + 1) * C)).unwrap();
        Self {
            precision,
            qkv,
            linear,
            wide,
            convs,
            down,
            up: (vector(&b, &dice.signal(4 * C)), b.window(&up_spec).unwrap()),
            table: b.table(&table).unwrap(),
            codebook: b.codebook(&dice.signal(BINS * C), BINS).unwrap(),
            head,
            vectors: [(); 3].map(|()| vector(&b, &dice.signal(C))),
            ring: b.ring(&attention).unwrap(),
            memory: b.ring(&attention).unwrap(),
            rows: b.rows(ROWS, &[ROPE]).unwrap(),
            sampler: b.sampler(ROWS, SILENT).unwrap(),
            x: b.buf(ROWS * MAX_CHUNK * 2 * C).unwrap(),
            y: b.buf(ROWS * MAX_CHUNK * 2 * C).unwrap(),
            ids: b.ids(ROWS * MAX_CHUNK * CODES).unwrap(),
            status: b.ids(ROWS).unwrap(),
            positions: [0; ROWS],
            active: [true; ROWS],
            t: 1,
            given: Vec::new(),
            b,
        }
    }

    /// Notes the active rows of `y [rows, t, c]`.
    fn note(&mut self, what: &str, t: usize, c: usize) {
        let mut all = vec![0.0; ROWS * t * c];
        self.b.download(&self.y, &mut all).unwrap();
        self.note_rows(what, &all);
    }

    fn note_rows(&mut self, what: &str, all: &[f32]) {
        let len = all.len() / ROWS;
        let rows = (0..ROWS).filter(|&row| self.active[row]);
        let mine = rows.flat_map(|row| all[row * len..(row + 1) * len].to_vec()).collect();
        self.given.push((what.into(), mine));
    }

    /// Fresh input `[rows, t, c]`; what belongs to inactive rows is not a number, so that nobody may use it.
    fn feed(&mut self, dice: &mut Dice, t: usize, c: usize) {
        let mut values = dice.signal(ROWS * t * c);
        for row in (0..ROWS).filter(|&row| !self.active[row]) {
            values[row * t * c..(row + 1) * t * c].fill(f32::NAN);
        }
        self.b.upload(&values, &mut self.x).unwrap();
    }

    fn norms_and_activations(&mut self, dice: &mut Dice) {
        let (b, t) = (self.b.clone(), self.t);
        self.feed(dice, t, C);
        b.rms_norm(&self.rows, t, &self.x, &self.vectors[0], C, 1e-8, &mut self.y).unwrap();
        self.note("rms_norm", t, C);
        b.layer_norm(&self.rows, t, &self.x, &self.vectors[1], &self.vectors[2], C, 1e-5, &mut self.y).unwrap();
        self.note("layer_norm", t, C);
        b.residual_add(&self.rows, t, C, &self.x, Some(&self.vectors[0]), &mut self.y).unwrap();
        b.residual_add(&self.rows, t, C, &self.x, None, &mut self.y).unwrap();
        self.note("residual_add", t, C);
        b.gelu(&self.rows, t, C, &mut self.y).unwrap();
        self.note("gelu", t, C);
        b.softmax(&self.rows, t, C, &mut self.y).unwrap();
        self.note("softmax", t, C);
    }

    fn products(&mut self, dice: &mut Dice) {
        let (b, t) = (self.b.clone(), self.t);
        self.feed(dice, t, C);
        b.linear(&self.rows, t, &self.x, &self.linear, &mut self.y).unwrap();
        self.note("linear", t, C);
        b.linear(&self.rows, t, &self.x, &self.wide, &mut self.y).unwrap();
        std::mem::swap(&mut self.x, &mut self.y);
        b.silu_gate(&self.rows, t, &self.x, C, &mut self.y).unwrap();
        self.note("silu_gate", t, C);
        self.feed(dice, t, C);
        b.linear(&self.rows, t, &self.x, &self.qkv, &mut self.y).unwrap();
        std::mem::swap(&mut self.x, &mut self.y);
        b.rope_append_attend(&self.rows, Span { first: 0, t }, &self.x, &ATTENTION, &mut self.ring, &mut self.y)
            .unwrap();
        self.note("rope_append_attend", t, C);
        if dice.below(4) == 0 {
            let (row, len) = (dice.below(ROWS), 1 + dice.below(ATTENTION.context));
            b.fill_ring(&vector(&b, &dice.signal(len * C)), len, &mut self.memory, row).unwrap();
        }
        let lengths: Vec<i32> = (0..ROWS).map(|_| dice.below(ATTENTION.context + 1) as i32).collect();
        let mut ids = b.ids(ROWS).unwrap();
        b.upload_ids(&lengths, &mut ids).unwrap();
        self.feed(dice, t, C);
        b.attend_ring(&self.rows, t, &self.x, &ids, &self.memory, &mut self.y).unwrap();
        self.note("attend_ring", t, C);
    }

    fn convolutions(&mut self, dice: &mut Dice) {
        let (b, t) = (self.b.clone(), self.t);
        for (i, spec) in CONVS.iter().enumerate() {
            self.feed(dice, t, C);
            let (w, window) = &mut self.convs[i];
            b.conv_step(&self.rows, t, &self.x, w, spec, window, &mut self.y).unwrap();
            self.note(&format!("{spec:?}"), t, C);
        }
        self.feed(dice, 2 * t, C);
        let (w, window) = &mut self.down;
        b.conv_step(&self.rows, 2 * t, &self.x, w, &DOWN, window, &mut self.y).unwrap();
        self.note("downsampling", t, C);
        self.feed(dice, t, C);
        let (w, window) = &mut self.up;
        b.upsample_step(&self.rows, t, &self.x, w, 2, window, &mut self.y).unwrap();
        self.note("upsample_step", 2 * t, C);
    }

    fn tokens(&mut self, dice: &mut Dice) {
        let (b, t) = (self.b.clone(), self.t);
        self.feed(dice, t, C);
        let column = Column { index: 1, of: CODES };
        b.nearest_code(&self.rows, t, &self.codebook, &mut self.x, &mut self.ids, column, &mut self.status).unwrap();
        std::mem::swap(&mut self.x, &mut self.y);
        self.note("residual of nearest_code", t, C);
        self.note_ids("nearest_code", ROWS * t * CODES);
        let nothing: Vec<i32> = (0..ROWS * t * CODES).map(|_| dice.below(BINS + 2) as i32 - 1).collect();
        b.upload_ids(&nothing, &mut self.ids).unwrap();
        let column = Column { index: 0, of: CODES };
        b.embed(&self.rows, t, &self.ids, column, &[&self.table, &self.table], &mut self.y, &mut self.status).unwrap();
        b.embed_add(&self.rows, t, &self.ids, column, &[&self.table], &mut self.y, &mut self.status).unwrap();
        self.note("embed", t, C);
    }

    fn note_ids(&mut self, what: &str, len: usize) {
        let mut ids = vec![0; len];
        self.b.download_ids(&self.ids, &mut ids).unwrap();
        self.note_rows(what, &ids.iter().map(|&id| id as f32).collect::<Vec<_>>());
    }

    fn draws(&mut self, dice: &mut Dice) {
        let b = self.b.clone();
        self.feed(dice, 1, C);
        b.linear(&self.rows, 1, &self.x, &self.head, &mut self.y).unwrap();
        let pair = self.active[0] && self.active[2] && dice.below(2) == 0;
        let mut guides = b.ids(ROWS).unwrap();
        b.upload_ids(&[-1, -1, if pair { 0 } else { -1 }], &mut guides).unwrap();
        let coefficients = vector(&b, &[2.0, 2.0, 2.5]);
        b.guide(&self.rows, VOCABULARY, &guides, &coefficients, &mut self.y).unwrap();
        self.note("guide", 1, VOCABULARY);
        let forced: Vec<i32> =
            (0..ROWS).map(|_| if dice.below(4) == 0 { dice.below(VOCABULARY) as i32 } else { -1 }).collect();
        let mut given = b.ids(ROWS).unwrap();
        b.upload_ids(&forced, &mut given).unwrap();
        let (stream, column) = (dice.below(3), Column { index: 0, of: 1 });
        b.sample(
            &self.rows,
            &self.y,
            VOCABULARY,
            stream,
            &mut self.sampler,
            &given,
            &mut self.ids,
            column,
            &mut self.status,
        )
        .unwrap();
        self.note_ids("sample", ROWS);
        let mut status = [0; ROWS];
        b.download_ids(&self.status, &mut status).unwrap();
        assert_eq!(status, [0; ROWS], "nothing is wrong with any row");
    }

    /// Sometimes resets a row, copies one, or changes how its tokens are drawn.
    fn disturb(&mut self, dice: &mut Dice) {
        let b = self.b.clone();
        let (row, other) = (dice.below(ROWS), dice.below(ROWS));
        match dice.below(6) {
            0 => {
                let windows = self.convs.iter_mut().map(|(_, w)| w).chain([&mut self.down.1, &mut self.up.1]);
                windows.for_each(|window| b.reset_window(window, row).unwrap());
                self.positions[row] = 0;
            }
            1 => self.copy(row, other),
            2 => {
                let params = RowSampling {
                    seed: dice.below(1000) as u64,
                    text: SamplingParams { temperature: 0.7, top_k: 5, top_p: 1.0 },
                    audio: SamplingParams { temperature: 0.8, top_k: 0, top_p: 0.9 },
                    pad_mult: 0.5,
                    repetition_penalty: 1.3,
                    repetition_context: 4,
                };
                b.set_sampling(&mut self.sampler, row, &params).unwrap();
            }
            _ => {}
        }
    }

    /// Copies a row by way of other memory, as a fork does.
    fn copy(&mut self, row: usize, other: usize) {
        let b = self.b.clone();
        let spec = RingSpec { rows: 1, attention: ATTENTION, max_chunk: MAX_CHUNK, precision: self.precision };
        let mut ring = b.ring(&spec).unwrap();
        b.copy_ring(&self.ring, other, &mut ring, 0).unwrap();
        b.copy_ring(&ring, 0, &mut self.ring, row).unwrap();
        for (i, spec) in CONVS.iter().enumerate() {
            let mut one = window(&b, spec, (1, self.precision), MAX_CHUNK, Padding::Zero);
            b.copy_window(&self.convs[i].1, other, &mut one, 0).unwrap();
            b.copy_window(&one, 0, &mut self.convs[i].1, row).unwrap();
        }
        let mut one = b.sampler(1, SILENT).unwrap();
        b.copy_sampler(&self.sampler, other, &mut one, 0).unwrap();
        b.copy_sampler(&one, 0, &mut self.sampler, row).unwrap();
        self.positions[row] = self.positions[other];
    }
}

/// Everything that active rows give in `steps` random steps.
pub fn script<B: Backend>(b: B, seed: u64, steps: usize) -> Vec<Given> {
    script_in(b, Precision::Exact, seed, steps)
}

/// As [`script`], rounding as `precision` says.
pub fn script_in<B: Backend>(b: B, precision: Precision, seed: u64, steps: usize) -> Vec<Given> {
    let mut dice = Dice::new(seed);
    let mut bench = Bench::new(b, precision, &mut dice);
    for _ in 0..steps {
        bench.disturb(&mut dice);
        bench.active = dice.flags();
        bench.t = 1 + dice.below(MAX_CHUNK);
        bench.b.put_rows(&mut bench.rows, &bench.active, &bench.positions, bench.t).unwrap();
        bench.norms_and_activations(&mut dice);
        bench.products(&mut dice);
        bench.convolutions(&mut dice);
        bench.tokens(&mut dice);
        bench.draws(&mut dice);
        for row in (0..ROWS).filter(|&row| bench.active[row]) {
            bench.positions[row] += bench.t as u64;
        }
    }
    bench.given
}

/// An executor agrees with the reference: every output of an active row within `tolerance`, codes and tokens exactly.
pub fn agrees_with_the_reference<R: Backend, B: Backend>(reference: R, backend: B, tolerance: f32) {
    for seed in 0..6 {
        let expected = script(reference.clone(), seed, 40);
        let found = script(backend.clone(), seed, 40);
        assert_eq!(found.len(), expected.len());
        for (step, ((what, found), (_, expected))) in found.iter().zip(&expected).enumerate() {
            let exact = ["nearest_code", "sample"].contains(&what.as_str());
            assert_close(
                &format!("seed {seed}, {what} ({step})"),
                found,
                expected,
                if exact { 0.0 } else { tolerance },
            );
        }
    }
}
