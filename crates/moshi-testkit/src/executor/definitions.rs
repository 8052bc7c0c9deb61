//! Operations against definitions written out in double precision.

use moshi_nn::backend::{
    AttentionSpec, Backend, Column, FREE, HeadRope, MatrixSpec, NOTHING, Padding, Precision, RingSpec, Rope,
    RopeLayout, RowSampling, SamplingParams, SilentTokens, Span,
};
use moshi_nn::layers::{ConvConfig, Embedding, Linear, Norm, NormConfig, Rows, Step, StreamingConv};
use moshi_nn::layers::{StreamingConvTranspose, StreamingUpsample};
use moshi_nn::{At, Error, Fault, FaultKind, HostWeight, LowRankPair, WeightSource};

use crate::{RandomWeights, assert_close, noise};

fn filled<B: Backend>(backend: &B, values: &[f32]) -> B::Buf {
    let mut buf = backend.buf(values.len()).unwrap();
    backend.upload(values, &mut buf).unwrap();
    buf
}

fn read<B: Backend>(backend: &B, buf: &B::Buf, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    backend.download(buf, &mut values).unwrap();
    values
}

fn read_ids<B: Backend>(backend: &B, ids: &B::Ids, len: usize) -> Vec<i32> {
    let mut values = vec![0; len];
    backend.download_ids(ids, &mut values).unwrap();
    values
}

fn faults<B: Backend>(backend: &B, status: &B::Ids, rows: usize) -> Vec<Option<Fault>> {
    read_ids(backend, status, rows).into_iter().map(Fault::from_word).collect()
}

fn elu(x: f64) -> f64 {
    if x > 0.0 { x } else { x.exp_m1() }
}

/// Rows at position 0, of which some run.
fn running<B: Backend>(backend: &B, active: &[bool]) -> Rows<B> {
    let mut rows = Rows::new(backend, active.len(), &[]).unwrap();
    rows.put(backend, active, 1).unwrap();
    rows
}

/// A linear layer is a matrix product, plus a bias.
pub fn linear_is_a_product_with_bias<B: Backend>(backend: B) {
    let (n, k, t) = (5, 7, 3);
    let (w, bias, x) = (noise::signal(1, n * k), noise::signal(2, n), noise::signal(3, t * k));
    let weight = HostWeight::from_f32(n, k, w.clone()).unwrap();
    let layer = Linear::new(&backend, &weight, Some(&bias), Precision::Exact).unwrap();
    let rows = running(&backend, &[true; 1]);
    let mut y = backend.buf(t * n).unwrap();
    layer.step(Step::new(&backend, &rows, t), &filled(&backend, &x), &mut y).unwrap();
    let expected: Vec<f32> = (0..t * n)
        .map(|i| {
            let (s, o) = (i / n, i % n);
            let sum: f64 = (0..k).map(|j| f64::from(w[o * k + j]) * f64::from(x[s * k + j])).sum();
            (sum + f64::from(bias[o])) as f32
        })
        .collect();
    assert_close("linear", &read(&backend, &y, t * n), &expected, 1e-6);
}

/// Norms and activations follow their equations.
pub fn norms_and_activations_follow_their_equations<B: Backend>(backend: B) {
    let (c, t) = (6, 2);
    let x = noise::signal(4, t * c);
    let weights = RandomWeights::new(5, |_| false);
    let at = At::new(&weights, "n");
    let rows = running(&backend, &[true; 1]);
    let step = Step::new(&backend, &rows, t);
    let run = |config| {
        let mut y = backend.buf(t * c).unwrap();
        Norm::load(&backend, &at, config, c).unwrap().step(step, &filled(&backend, &x), &mut y).unwrap();
        read(&backend, &y, t * c)
    };
    let line = |i: usize| x[i / c * c..(i / c + 1) * c].iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let alpha = weights.vector("n.alpha", &[1, 1, c]).unwrap();
    let expected: Vec<f32> = (0..t * c)
        .map(|i| {
            let mean = line(i).iter().map(|v| v * v).sum::<f64>() / c as f64;
            (f64::from(x[i]) / (mean + 1e-8).sqrt() * f64::from(alpha[i % c])) as f32
        })
        .collect();
    assert_close("rms norm", &run(NormConfig::RMS_F32), &expected, 1e-6);
    let (weight, bias) = (weights.vector("n.weight", &[c]).unwrap(), weights.vector("n.bias", &[c]).unwrap());
    let expected: Vec<f32> = (0..t * c)
        .map(|i| {
            let mean = line(i).iter().sum::<f64>() / c as f64;
            let variance = line(i).iter().map(|v| (v - mean).powi(2)).sum::<f64>() / c as f64;
            let unit = (f64::from(x[i]) - mean) / (variance + 1e-5).sqrt();
            (unit * f64::from(weight[i % c]) + f64::from(bias[i % c])) as f32
        })
        .collect();
    assert_close("layer norm", &run(NormConfig::LAYER), &expected, 1e-6);

    let mut y = backend.buf(t * c / 2).unwrap();
    backend.silu_gate(rows.inner(), t, &filled(&backend, &x), c / 2, &mut y).unwrap();
    let expected: Vec<f32> = (0..t * c / 2)
        .map(|i| {
            let (s, j) = (i / (c / 2), i % (c / 2));
            let (a, b) = (f64::from(x[s * c + j]), f64::from(x[s * c + c / 2 + j]));
            (a / (1.0 + (-a).exp()) * b) as f32
        })
        .collect();
    assert_close("silu gate", &read(&backend, &y, t * c / 2), &expected, 1e-6);

    let mut y = filled(&backend, &[-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0]);
    backend.gelu(rows.inner(), 1, 7, &mut y).unwrap();
    let expected = [-0.004_049_7, -0.158_655_26, -0.154_268_77, 0.0, 0.345_731_23, 0.841_344_8, 2.995_950_3];
    assert_close("gelu", &read(&backend, &y, 7), &expected, 1e-6);

    let mut y = filled(&backend, &[0.0, 0.0, 2f32.ln(), -50.0, 1000.0, 1000.0]);
    backend.softmax(rows.inner(), 2, 3, &mut y).unwrap();
    assert_close("softmax", &read(&backend, &y, 6), &[0.25, 0.25, 0.5, 0.0, 0.5, 0.5], 1e-6);
}

/// Convolutions, plain, strided, dilated, padded and transposed, follow their equations.
pub fn convolutions_follow_their_equations<B: Backend>(backend: B) {
    let (c_in, c_out, t) = (3, 4, 12);
    let x = noise::signal(6, t * c_in);
    let weights = RandomWeights::new(8, |name| name.ends_with(".bias"));
    let at = At::new(&weights, "c");
    let bias = weights.vector("c.bias", &[c_out]).unwrap();
    let rows = running(&backend, &[true; 1]);
    let step = Step::new(&backend, &rows, t);
    let input = |s: isize, c: usize, first: bool| match usize::try_from(s) {
        Ok(s) if s < t => f64::from(x[s * c_in + c]),
        Ok(_) => 0.0,
        Err(_) if first => f64::from(x[c]),
        Err(_) => 0.0,
    };
    for (kernel, stride, dilation, padding) in
        [(7, 1, 1, Padding::Zero), (3, 1, 2, Padding::Zero), (8, 4, 1, Padding::Zero), (4, 2, 1, Padding::Replicate)]
    {
        let config = ConvConfig::plain(c_in, c_out, kernel).stride(stride).dilation(dilation).elu().padding(padding);
        let w = weights.vector("c.weight", &[c_out, c_in, kernel]).unwrap();
        let conv = StreamingConv::load(&backend, &at, &config).unwrap();
        let mut y = backend.buf(t / stride * c_out).unwrap();
        let mut window = conv.init_state(&backend, 1, t).unwrap();
        conv.step(step, &filled(&backend, &x), &mut window, &mut y).unwrap();
        let left = ((kernel - 1) * dilation + 1 - stride) as isize;
        let expected: Vec<f32> = (0..t / stride * c_out)
            .map(|i| {
                let (s, o) = (i / c_out, i % c_out);
                let mut sum = f64::from(bias[o]);
                for (c, tap) in (0..c_in).flat_map(|c| (0..kernel).map(move |tap| (c, tap))) {
                    let column = (s * stride + tap * dilation) as isize - left;
                    let value = elu(input(column, c, padding == Padding::Replicate));
                    sum += f64::from(w[(o * c_in + c) * kernel + tap]) * value;
                }
                sum as f32
            })
            .collect();
        assert_close(&format!("{config:?}"), &read(&backend, &y, expected.len()), &expected, 1e-5);
    }
    for (kernel, stride) in [(8, 4), (7, 3), (4, 4)] {
        let config = ConvConfig::plain(c_in, c_out, kernel).stride(stride).elu();
        let w = weights.vector("c.weight", &[c_in, c_out, kernel]).unwrap();
        let conv = StreamingConvTranspose::load(&backend, &at, &config).unwrap();
        let mut y = backend.buf(t * stride * c_out).unwrap();
        let mut window = conv.init_state(&backend, 1, t).unwrap();
        conv.step(step, &filled(&backend, &x), &mut window, &mut y).unwrap();
        let mut expected: Vec<f64> = (0..t * stride * c_out).map(|i| f64::from(bias[i % c_out])).collect();
        for (s, c, o, k) in each(t, c_in, c_out, kernel) {
            if let Some(sum) = expected.get_mut((s * stride + k) * c_out + o) {
                *sum += f64::from(w[(c * c_out + o) * kernel + k]) * elu(input(s as isize, c, false));
            }
        }
        let expected: Vec<f32> = expected.iter().map(|&v| v as f32).collect();
        assert_close(&format!("transposed {config:?}"), &read(&backend, &y, expected.len()), &expected, 1e-5);
    }
}

fn each(t: usize, c_in: usize, c_out: usize, kernel: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..t * c_in * c_out * kernel)
        .map(move |i| (i / (c_in * c_out * kernel), i / (c_out * kernel) % c_in, i / kernel % c_out, i % kernel))
}

/// The depthwise transposed convolution overlaps two inputs.
pub fn upsampling_overlaps_two_inputs<B: Backend>(backend: B) {
    let (c, stride, t) = (3, 2, 4);
    let x = noise::signal(9, t * c);
    let weights = RandomWeights::new(10, |_| false);
    let w = weights.vector("u.weight", &[c, 1, 2 * stride]).unwrap();
    let layer = StreamingUpsample::load(&backend, &At::new(&weights, "u"), c, stride).unwrap();
    let rows = running(&backend, &[true; 1]);
    let mut window = layer.init_state(&backend, 1, t).unwrap();
    let mut y = backend.buf(t * stride * c).unwrap();
    layer.step(Step::new(&backend, &rows, t), &filled(&backend, &x), &mut window, &mut y).unwrap();
    let mut expected = vec![0f32; t * stride * c];
    for (s, ch, k) in (0..t * c * 2 * stride).map(|i| (i / (c * 2 * stride), i / (2 * stride) % c, i % (2 * stride))) {
        if let Some(sum) = expected.get_mut((s * stride + k) * c + ch) {
            *sum += w[ch * 2 * stride + k] * x[s * c + ch];
        }
    }
    assert_close("upsampling", &read(&backend, &y, expected.len()), &expected, 1e-6);
}

/// Attention far from position 0, where single-precision angles would be off by whole turns.
pub fn rotations_stay_exact_after_hours<B: Backend>(backend: B) {
    let rope = Rope { max_period: 10_000.0, layout: RopeLayout::Interleaved };
    let attention = AttentionSpec { heads: 1, kv_heads: 1, head_dim: 4, context: 8, rope: Some(rope) };
    let spec = RingSpec { rows: 1, attention, max_chunk: 1, precision: Precision::Exact };
    let inputs: Vec<Vec<f32>> = (0..6).map(|i| noise::signal(11 + i, 12)).collect();
    let run = |start: u64| -> Vec<f32> {
        let mut ring = backend.ring(&spec).unwrap();
        let mut rows = backend.rows(1, &[HeadRope { head_dim: 4, rope }]).unwrap();
        let mut y = backend.buf(4).unwrap();
        for (i, x) in inputs.iter().enumerate() {
            // Two steps a stretch: the second begins where the first ended.
            let first = i % 2;
            backend.put_rows(&mut rows, &[true], &[start + (i - first) as u64], 2).unwrap();
            let x = filled(&backend, x);
            backend.rope_append_attend(&rows, Span { first, t: 1 }, &x, &attention, &mut ring, &mut y).unwrap();
        }
        read(&backend, &y, 4)
    };
    // What lies before the first input is an empty ring of zero keys, the same for every start beyond the context.
    let near = run(8);
    for start in [1 << 20, (1 << 24) + 1, 1 << 33] {
        assert_close(&format!("from {start}"), &run(start), &near, 1e-5);
    }
}

/// Each row adds the low-rank pair that it asks for, or none.
pub fn low_rank_pairs_are_added_for_the_rows_that_ask<B: Backend>(backend: B) {
    let (n, k, t, rank) = (5, 7, 2, 3);
    let (down, up) = (noise::signal(21, rank * k), noise::signal(22, n * rank));
    let pair = |scale: f32| LowRankPair {
        down: HostWeight::from_f32(rank, k, down.clone()).unwrap(),
        up: HostWeight::from_f32(n, rank, up.iter().map(|u| scale * u).collect()).unwrap(),
    };
    let pairs = backend.low_rank(&[Some(pair(1.0)), None, Some(pair(-2.0))]).unwrap();
    let rows = running(&backend, &[true, true, true, false, true]);
    let x = noise::signal(23, 5 * t * k);
    let (mut y, mut which) = (filled(&backend, &vec![0.5; 5 * t * n]), backend.ids(5).unwrap());
    backend.upload_ids(&[2, -1, 0, 0, 1], &mut which).unwrap();
    backend.low_rank_add(rows.inner(), t, &filled(&backend, &x), &pairs, &which, &mut y).unwrap();
    let expected = |row: usize, scale: f64| -> Vec<f32> {
        let value = |s: usize, o: usize| -> f64 {
            let inner = |r: usize| -> f64 {
                (0..k).map(|j| f64::from(down[r * k + j]) * f64::from(x[(row * t + s) * k + j])).sum()
            };
            (0..rank).map(|r| f64::from(up[o * rank + r]) * inner(r)).sum()
        };
        (0..t * n).map(|i| (0.5 + scale * value(i / n, i % n)) as f32).collect()
    };
    let found = read(&backend, &y, 5 * t * n);
    for (row, scale) in [(0, -2.0), (1, 0.0), (2, 1.0), (3, 0.0), (4, 0.0)] {
        assert_close(&format!("row {row}"), &found[row * t * n..(row + 1) * t * n], &expected(row, scale), 1e-5);
    }
}

/// A row reads the table of its adapter, or the first.
pub fn a_row_reads_the_table_of_its_adapter<B: Backend>(backend: B) {
    let values = [31, 32, 33].map(|seed| noise::signal(seed, 5 * 4));
    let [zero, one, three] = [0, 1, 2].map(|i| HostWeight::from_f32(5, 4, values[i].clone()).unwrap());
    let tables = backend.tables(&[Some(zero), Some(one), None, Some(three)]).unwrap();
    let rows = running(&backend, &[true, true, true, false, true, true, true]);
    let (mut ids, mut which) = (backend.ids(7 * 2).unwrap(), backend.ids(7).unwrap());
    backend.upload_ids(&[9, 1, 9, 2, 9, 3, 9, 4, 9, 0, 9, -1, 9, 7], &mut ids).unwrap();
    backend.upload_ids(&[0, 1, 2, 1, 3, 1, -1], &mut which).unwrap();
    let (mut y, mut status) = (filled(&backend, &[0.5; 7 * 4]), backend.ids(7).unwrap());
    let column = Column { index: 1, of: 2 };
    backend.embed_chosen(rows.inner(), 1, &ids, column, (&tables, &which), &mut y, &mut status).unwrap();
    let entry = |table: usize, id: usize| values[table][id * 4..(id + 1) * 4].to_vec();
    let found = read(&backend, &y, 7 * 4);
    for (row, expected) in [(0, entry(0, 1)), (1, entry(1, 2)), (2, entry(0, 3)), (4, entry(2, 0)), (5, vec![0.0; 4])] {
        assert_eq!(found[row * 4..(row + 1) * 4], expected, "row {row}");
    }
    let bad = Some(Fault { kind: FaultKind::Id, column: 1 });
    assert_eq!(faults(&backend, &status, 7), [None, None, None, None, None, None, bad]);
}

/// Keys and values that lie in a ring from the beginning: softmax(q K^T / sqrt(d)) V over the row's own length.
pub fn queries_attend_to_what_a_row_was_filled_with<B: Backend>(backend: B) {
    let (heads, kv_heads, d, t, places) = (4, 2, 6, 2, 7);
    let attention = AttentionSpec { heads, kv_heads, head_dim: d, context: places, rope: None };
    let mut ring = backend.ring(&RingSpec { rows: 4, attention, max_chunk: 1, precision: Precision::Exact }).unwrap();
    let lengths = [7, 3, 0, 5];
    let memory = |row: usize| noise::signal(31 + row as u64, places * 2 * kv_heads * d);
    for row in [1, 0, 3] {
        backend.fill_ring(&filled(&backend, &memory(row)), places, &mut ring, row).unwrap();
    }
    // What is filled again is forgotten, and copies come along.
    backend.fill_ring(&filled(&backend, &memory(9)), 4, &mut ring, 1).unwrap();
    backend.fill_ring(&filled(&backend, &memory(1)), 3, &mut ring, 1).unwrap();
    let mut other = backend.ring(&RingSpec { rows: 1, attention, max_chunk: 1, precision: Precision::Exact }).unwrap();
    backend.copy_ring(&ring, 0, &mut other, 0).unwrap();
    backend.fill_ring(&filled(&backend, &memory(9)), places, &mut ring, 0).unwrap();
    backend.copy_ring(&other, 0, &mut ring, 0).unwrap();

    let rows = running(&backend, &[true, true, true, false]);
    let width = heads * d;
    let q = noise::signal(40, 4 * t * width);
    let (mut y, mut ids) = (filled(&backend, &vec![0.5; 4 * t * width]), backend.ids(4).unwrap());
    backend.upload_ids(&lengths, &mut ids).unwrap();
    backend.attend_ring(rows.inner(), t, &filled(&backend, &q), &ids, &ring, &mut y).unwrap();
    let expected = |row: usize, step: usize, head: usize| -> Vec<f32> {
        let (memory, kv) = (memory(row), head / (heads / kv_heads));
        let at = |place: usize, part: usize, c: usize| {
            f64::from(memory[(place * 2 * kv_heads + part * kv_heads + kv) * d + c])
        };
        let q = &q[((row * t + step) * heads + head) * d..][..d];
        let score = |place| {
            let dot: f64 = (0..d).map(|c| f64::from(q[c]) * at(place, 0, c)).sum();
            (dot / (d as f64).sqrt()).exp()
        };
        let scores: Vec<f64> = (0..lengths[row] as usize).map(score).collect();
        let sum: f64 = scores.iter().sum();
        let mix = |c| scores.iter().enumerate().map(|(place, score)| score * at(place, 1, c)).sum::<f64>();
        (0..d).map(|c| if scores.is_empty() { 0.0 } else { (mix(c) / sum) as f32 }).collect()
    };
    let found = read(&backend, &y, 4 * t * width);
    for row in 0..3 {
        let steps = (0..t).flat_map(|step| (0..heads).map(move |head| (step, head)));
        let expected: Vec<f32> = steps.flat_map(|(step, head)| expected(row, step, head)).collect();
        assert_close(&format!("row {row}"), &found[row * t * width..(row + 1) * t * width], &expected, 1e-5);
    }
    assert!(backend.fill_ring(&filled(&backend, &memory(0)), places + 1, &mut ring, 0).is_err());
    assert!(backend.fill_ring(&filled(&backend, &memory(0)), places, &mut ring, 4).is_err());
}

/// null + coefficient * (logits - null) for both rows of a pair; all others stay as they are.
pub fn guided_rows_share_their_logits<B: Backend>(backend: B) {
    let logits: Vec<f32> = vec![1.0, -2.0, 0.5, 8.0, 4.0, 4.0, 0.0, 1.0, 7.0, 7.0];
    let rows = running(&backend, &[true, true, true, true, false]);
    let mut ids = backend.ids(5).unwrap();
    let factors = filled(&backend, &[3.0, 9.0, 0.5, 9.0, 9.0]);
    let guided = |guides: &[i32], ids: &mut B::Ids| {
        backend.upload_ids(guides, ids).unwrap();
        let mut y = filled(&backend, &logits);
        backend.guide(rows.inner(), 2, ids, &factors, &mut y).unwrap();
        read(&backend, &y, 10)
    };
    let found = guided(&[3, -1, 1, -1, 0], &mut ids);
    assert_eq!(found, [3.0, -8.0, 2.25, 6.0, 2.25, 6.0, 3.0, -8.0, 7.0, 7.0]);
    assert_eq!(guided(&[-1, -1, 5, i32::MAX, 0], &mut ids), logits, "nobody is guided by a row that is none");
}

/// The nearest code is subtracted; ties go to the lowest index.
pub fn the_nearest_code_is_subtracted_and_ties_go_low<B: Backend>(backend: B) {
    let codebook = backend.codebook(&[0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0], 4).unwrap();
    let rows = running(&backend, &[true; 1]);
    let mut residual = filled(&backend, &[0.9, 0.1, 0.5, 0.5, -3.0, 4.0]);
    let mut codes = backend.ids(6).unwrap();
    backend.upload_ids(&[7; 6], &mut codes).unwrap();
    let column = Column { index: 1, of: 2 };
    let mut status = backend.ids(1).unwrap();
    backend.nearest_code(rows.inner(), 3, &codebook, &mut residual, &mut codes, column, &mut status).unwrap();
    assert_eq!(read_ids(&backend, &codes, 6), [7, 1, 7, 0, 7, 2]);
    assert_eq!(faults(&backend, &status, 1), [None]);
    assert_close("residual", &read(&backend, &residual, 6), &[-0.1, 0.1, 0.5, 0.5, -3.0, 3.0], 1e-6);
}

/// Embeddings are summed; nothing adds nothing.
pub fn embeddings_sum_and_skip_nothing<B: Backend>(backend: B) {
    let weights = RandomWeights::new(12, |_| false);
    let at = At::new(&weights, "e");
    let rows = running(&backend, &[true; 1]);
    let mut ids = backend.ids(3).unwrap();
    backend.upload_ids(&[-1, 2, 9], &mut ids).unwrap();
    let table = weights.vector("e.weight", &[5, 4]).unwrap();
    let plain = Embedding::load(&backend, &at, 5, 4, None).unwrap();
    let mut scratch = plain.scratch(&backend, 1).unwrap();
    let step = Step::new(&backend, &rows, 1);
    let mut y = filled(&backend, &[1.0; 4]);
    let mut status = backend.ids(1).unwrap();
    let column = |index| Column { index, of: 3 };
    plain.add(step, &ids, column(1), &mut scratch, &mut y, &mut status).unwrap();
    let expected: Vec<f32> = table[8..12].iter().map(|v| 1.0 + v).collect();
    assert_close("added", &read(&backend, &y, 4), &expected, 1e-6);
    plain.set(step, &ids, column(0), &mut scratch, &mut y, &mut status).unwrap();
    assert_eq!(read(&backend, &y, 4), [0.0; 4]);
    assert_eq!(faults(&backend, &status, 1), [None]);
    plain.set(step, &ids, column(2), &mut scratch, &mut y, &mut status).unwrap();
    assert_eq!(faults(&backend, &status, 1), [Some(Fault { kind: FaultKind::Id, column: 2 })]);

    let low = Embedding::load(&backend, &at, 5, 4, Some(2)).unwrap();
    let (table, w) =
        (weights.vector("e.weight", &[5, 2]).unwrap(), weights.vector("e.low_rank.weight", &[4, 2]).unwrap());
    let expected: Vec<f32> = w.chunks(2).map(|w| w[0] * table[4] + w[1] * table[5]).collect();
    let mut scratch = low.scratch(&backend, 1).unwrap();
    low.set(step, &ids, column(1), &mut scratch, &mut y, &mut status).unwrap();
    assert_close("low rank", &read(&backend, &y, 4), &expected, 1e-6);
    low.add(step, &ids, column(1), &mut scratch, &mut y, &mut status).unwrap();
    let twice: Vec<f32> = expected.iter().map(|v| 2.0 * v).collect();
    assert_close("low rank added", &read(&backend, &y, 4), &twice, 1e-6);

    // Two tokens at once: one table, a projection for each, and nothing for the one that is not there.
    let pair = Embedding::load_pair(&backend, &at, 5, 4, Some(2)).unwrap();
    let [out1, out2] = ["e.out1.weight", "e.out2.weight"].map(|name| weights.vector(name, &[4, 2]).unwrap());
    let entry = |w: &[f32], id: i32, o: usize| match usize::try_from(id) {
        Ok(id) => w[2 * o] * table[2 * id] + w[2 * o + 1] * table[2 * id + 1],
        Err(_) => 0.0,
    };
    let (mut scratch, mut status) = (pair.scratch(&backend, 1).unwrap(), backend.ids(1).unwrap());
    for (first, second) in [(2, 4), (1, -1), (-1, 0), (-1, -1)] {
        backend.upload_ids(&[9, first, second], &mut ids).unwrap();
        let expected: Vec<f32> = (0..4).map(|o| entry(&out1, first, o) + entry(&out2, second, o)).collect();
        pair.set(step, &ids, column(1), &mut scratch, &mut y, &mut status).unwrap();
        assert_close("pair", &read(&backend, &y, 4), &expected, 1e-6);
        pair.add(step, &ids, column(1), &mut scratch, &mut y, &mut status).unwrap();
        let twice: Vec<f32> = expected.iter().map(|v| 2.0 * v).collect();
        assert_close("pair added", &read(&backend, &y, 4), &twice, 1e-6);
    }
    assert_eq!(faults(&backend, &status, 1), [None]);
}

/// Tokens are drawn, forced, or forced to be nothing; columns and rows beside them stay.
pub fn samples_are_greedy_or_forced_and_leave_others_alone<B: Backend>(backend: B) {
    let silent = SilentTokens { padding: 3, end_padding: 0 };
    let mut sampler = backend.sampler(3, silent).unwrap();
    let rows = running(&backend, &[true, true, false]);
    let logits = filled(&backend, &[0.0, 2.0, 2.0, 1.0, 5.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0]);
    let (mut forced, mut out) = (backend.ids(6).unwrap(), backend.ids(6).unwrap());
    backend.upload_ids(&[FREE, FREE, FREE, 2, FREE, FREE], &mut forced).unwrap();
    backend.upload_ids(&[8; 6], &mut out).unwrap();
    let column = Column { index: 1, of: 2 };
    let mut status = backend.ids(3).unwrap();
    backend.sample(rows.inner(), &logits, 4, 0, &mut sampler, &forced, &mut out, column, &mut status).unwrap();
    assert_eq!(read_ids(&backend, &out, 6), [8, 1, 8, 2, 8, 8]);
    backend.upload_ids(&[FREE, NOTHING, FREE, 2, FREE, FREE], &mut forced).unwrap();
    backend.sample(rows.inner(), &logits, 4, 0, &mut sampler, &forced, &mut out, column, &mut status).unwrap();
    assert_eq!(read_ids(&backend, &out, 6), [8, -1, 8, 2, 8, 8]);
    assert_eq!(faults(&backend, &status, 3), [None; 3]);
}

/// Logits that are no numbers are the fault of one row.
pub fn logits_that_are_no_numbers_are_one_rows_fault<B: Backend>(backend: B) {
    let silent = SilentTokens { padding: 3, end_padding: 0 };
    let lively = SamplingParams { temperature: 0.8, top_k: 3, top_p: 0.9 };
    let params = RowSampling { text: lively, repetition_penalty: 1.2, repetition_context: 4, ..RowSampling::GREEDY };
    let rows = running(&backend, &[true, true, true, false]);
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let bad = [[nan; 4], [0.0, nan, 1.0, 2.0], [inf, 0.0, 1.0, 2.0], [-inf; 4], [1.0, 2.0, 3.0, -nan]];
    let good = [0.5, 1.0, -inf, 0.25];
    for (bad, greedy) in bad.iter().flat_map(|bad| [(bad, true), (bad, false)]) {
        let draw = |middle: &[f32; 4]| {
            let mut sampler = backend.sampler(4, silent).unwrap();
            let set =
                |row| backend.set_sampling(&mut sampler, row, if greedy { &RowSampling::GREEDY } else { &params });
            (0..4).try_for_each(set).unwrap();
            let logits = filled(&backend, &[good, *middle, good, [nan; 4]].concat());
            let (mut forced, mut out) = (backend.ids(8).unwrap(), backend.ids(8).unwrap());
            let mut status = backend.ids(4).unwrap();
            backend.upload_ids(&[-1; 8], &mut forced).unwrap();
            backend.upload_ids(&[8; 8], &mut out).unwrap();
            let column = Column { index: 1, of: 2 };
            backend.sample(rows.inner(), &logits, 4, 0, &mut sampler, &forced, &mut out, column, &mut status).unwrap();
            (read_ids(&backend, &out, 8), faults(&backend, &status, 4))
        };
        let (expected, none) = draw(&good);
        let (found, noted) = draw(bad);
        assert_eq!(none, [None; 4]);
        assert_eq!(noted, [None, Some(Fault { kind: FaultKind::Logits, column: 1 }), None, None]);
        assert_eq!(found[3], -1, "nothing is drawn from {bad:?}");
        assert_eq!((&found[..3], &found[4..]), (&expected[..3], &expected[4..]));
    }
}

/// An id that a table does not have is the fault of one row.
pub fn an_id_out_of_range_is_one_rows_fault<B: Backend>(backend: B) {
    let values: Vec<f32> = (1..=8).map(|x| x as f32).collect();
    let table = backend.table(&HostWeight::from_f32(4, 2, values).unwrap()).unwrap();
    let rows = running(&backend, &[true, true, false]);
    let column = Column { index: 1, of: 3 };
    for bad in [4, -2, i32::MAX, i32::MIN, 1 << 20] {
        let mut ids = backend.ids(18).unwrap();
        // Two time steps of three rows, the first of three columns not read.
        backend.upload_ids(&[9, 0, 1, 9, 2, -1, 9, 3, bad, 9, bad, 1, 9, bad, bad, 9, 0, 0], &mut ids).unwrap();
        let (mut y, mut status) = (filled(&backend, &[0.5; 12]), backend.ids(3).unwrap());
        backend.embed(rows.inner(), 2, &ids, column, &[&table, &table], &mut y, &mut status).unwrap();
        let expected = [4.0, 6.0, 5.0, 6.0, 7.0, 8.0, 3.0, 4.0, 0.5, 0.5, 0.5, 0.5];
        assert_eq!(read(&backend, &y, 12), expected, "{bad}");
        let first = Some(Fault { kind: FaultKind::Id, column: 2 });
        assert_eq!(faults(&backend, &status, 3), [None, first, None], "{bad}");
        backend.embed_add(rows.inner(), 2, &ids, Column { index: 1, of: 3 }, &[&table], &mut y, &mut status).unwrap();
        assert_eq!(faults(&backend, &status, 3), [None, first, None], "what was found first stays");
    }
}

/// A vector that is not finite has no nearest code, and is the fault of one row.
pub fn a_vector_that_is_not_finite_is_one_rows_fault<B: Backend>(backend: B) {
    // Wide enough for entries in 8 bits.
    let d = 16;
    let entries: Vec<f32> = (0..4 * d).map(|i| if i % d == i / d { 1.0 } else { 0.0 }).collect();
    let codebook = backend.codebook(&entries, 4).unwrap();
    let rows = running(&backend, &[true; 3]);
    let search = |bad: f32| {
        let mut x: Vec<f32> = (0..3 * 2 * d).map(|i| (i as f32 * 0.7).sin()).collect();
        x[2 * d + 5] = bad; // row 1, time 0
        let mut residual = filled(&backend, &x);
        let (mut codes, mut status) = (backend.ids(6).unwrap(), backend.ids(3).unwrap());
        let column = Column { index: 0, of: 1 };
        backend.nearest_code(rows.inner(), 2, &codebook, &mut residual, &mut codes, column, &mut status).unwrap();
        (read_ids(&backend, &codes, 6), read(&backend, &residual, 6 * d), faults(&backend, &status, 3))
    };
    let (codes, residual, none) = search(0.25);
    assert_eq!(none, [None; 3]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (found, left, noted) = search(bad);
        assert_eq!(noted, [None, Some(Fault { kind: FaultKind::Vector, column: 0 }), None]);
        assert_eq!(found[2], -1);
        assert_eq!((&found[..2], &found[3..]), (&codes[..2], &codes[3..]));
        assert_eq!((&left[..2 * d], &left[3 * d..]), (&residual[..2 * d], &residual[3 * d..]));
    }
}

/// Operands of wrong sizes are errors.
pub fn wrong_sizes_are_errors<B: Backend>(backend: B) {
    let rows = running(&backend, &[true; 2]);
    let w = HostWeight::from_f32(3, 4, vec![0.0; 12]).unwrap();
    let matrix = backend.matrix(&w, None, MatrixSpec::default()).unwrap();
    let (short, mut fitting) = (backend.buf(7).unwrap(), backend.buf(8).unwrap());
    let error = backend.linear(rows.inner(), 1, &short, &matrix, &mut fitting).unwrap_err();
    assert!(matches!(error, Error::Shape { .. } | Error::Device(_)), "{error}");
    assert!(backend.matrix(&w, Some(&[0.0; 2]), MatrixSpec::default()).is_err());
    assert!(backend.codebook(&[0.0; 5], 2).is_err());
    assert!(backend.upload(&[0.0; 9], &mut fitting).is_err());
    let mut few = Rows::<B>::new(&backend, 2, &[]).unwrap();
    assert!(few.put(&backend, &[true], 1).is_err());
}
