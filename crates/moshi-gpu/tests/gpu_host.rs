//! Kernels on the machine `host` against their definitions in double precision.
#![allow(clippy::unwrap_used)] // a failure is the test's answer

use moshi_gpu::host::Host;
use moshi_gpu::kernels::{Matrix, RowList, Values, linear, softmax};
use moshi_testkit::{assert_close, noise};

fn product(host: &Host, active: &[bool], (n, k, t): (usize, usize, usize)) -> Vec<f32> {
    let (w, bias, x) = (noise::signal(1, n * k), noise::signal(2, n), noise::signal(3, active.len() * t * k));
    let rows = RowList::new(host, active).unwrap();
    let w = Matrix::new(host, &w, Some(&bias), n).unwrap();
    let mut y = Values::new(host, &vec![-7.0; active.len() * t * n]).unwrap();
    linear(host, &rows, t, &Values::new(host, &x).unwrap(), &w, &mut y).unwrap();
    y.read(host).unwrap()
}

#[test]
fn a_product_is_that_of_its_definition_in_any_shape() {
    for (n, k, t) in [(1, 1, 1), (5, 7, 3), (4, 32, 1), (9, 100, 2)] {
        let (w, bias, x) = (noise::signal(1, n * k), noise::signal(2, n), noise::signal(3, 3 * t * k));
        let expected: Vec<f32> = (0..3 * t * n)
            .map(|i| {
                let (line, out) = (i / n, i % n);
                let sum: f64 = (0..k).map(|j| f64::from(w[out * k + j]) * f64::from(x[line * k + j])).sum();
                (sum + f64::from(bias[out])) as f32
            })
            .collect();
        assert_close("product", &product(&Host::default(), &[true; 3], (n, k, t)), &expected, 1e-6);
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_company_and_order_of_threads() {
    let shape = (9, 100, 2);
    let all = product(&Host::default(), &[true; 3], shape);
    for order in [0, 1, 3, 5] {
        let host = Host::in_order(order);
        assert_eq!(product(&host, &[true; 3], shape), all);
        let alone = product(&host, &[false, true, false], shape);
        assert_eq!(alone[18..36], all[18..36]);
        assert!(alone[..18].iter().chain(&alone[36..]).all(|&y| y == -7.0));
    }
}

#[test]
fn a_softmax_sums_to_one_however_large_its_input() {
    let host = Host::default();
    let rows = RowList::new(&host, &[true]).unwrap();
    let mut x = Values::new(&host, &[0.0, 0.0, 2f32.ln(), -50.0, 1000.0, 1000.0]).unwrap();
    softmax(&host, &rows, 2, 3, &mut x).unwrap();
    assert_close("softmax", &x.read(&host).unwrap(), &[0.25, 0.25, 0.5, 0.0, 0.5, 0.5], 1e-6);
}

#[test]
fn a_buffer_that_is_too_short_is_named() {
    let host = Host::default();
    let rows = RowList::new(&host, &[true; 2]).unwrap();
    let mut x = Values::new(&host, &[0.0; 5]).unwrap();
    let error = softmax(&host, &rows, 1, 3, &mut x).unwrap_err();
    assert_eq!(error.to_string(), "input of a softmax: expected 6 values, found 5");
}
