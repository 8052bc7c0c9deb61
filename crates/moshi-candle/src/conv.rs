//! Convolutions with memory, one row at a time.

use candle_core::Tensor;

use crate::Result;
use crate::memory::{Buf, Matrix, Rows, Window};
use crate::{Candle, check};
use moshi_nn::Error;
use moshi_nn::backend::ConvSpec;

/// A causal convolution and its memory.
pub(super) struct Conv<'a> {
    pub(super) weight: &'a Matrix,
    pub(super) spec: &'a ConvSpec,
    pub(super) window: &'a mut Window,
}

impl Candle {
    pub(super) fn conv(&self, rows: &Rows, t: usize, x: &Buf, conv: Conv<'_>, y: &mut Buf) -> Result<()> {
        let Conv { weight, spec, window } = conv;
        let ConvSpec { kernel, stride, dilation, elu_input } = *spec;
        if stride == 0 || !t.is_multiple_of(stride) {
            return Err(Error::Shape { what: "steps, a multiple of the stride", expected: stride, found: t }.into());
        }
        let span = (kernel.max(1) - 1) * dilation + 1;
        if span < stride || span - stride != window.spec.history {
            return Err(Error::Shape {
                what: "history of a convolution",
                expected: span.saturating_sub(stride),
                found: window.spec.history,
            }
            .into());
        }
        let c_in = window.spec.channels;
        if weight.k() != kernel * c_in {
            return Err(Error::Shape { what: "columns of a kernel", expected: kernel * c_in, found: weight.k() }.into());
        }
        let t_out = t / stride;
        let index: Vec<u32> =
            (0..t_out).flat_map(|out| (0..kernel).map(move |tap| (out * stride + tap * dilation) as u32)).collect();
        let index = Tensor::from_vec(index, t_out * kernel, &self.device)?;
        for row in rows.active() {
            let all = window.extend(rows, row, &x.row("convolution input", row, t, c_in)?)?; // [history + t, c_in]
            let all = if elu_input { all.elu(1.0)? } else { all };
            let patches = all.index_select(&index, 0)?.reshape((t_out, kernel * c_in))?;
            y.set_row("convolution output", row, &weight.apply(&patches)?)?; // [t_out, c_out]
        }
        Ok(())
    }

    pub(super) fn upsample(
        &self,
        rows: &Rows,
        t: usize,
        x: &Buf,
        weight: &Buf,
        stride: usize,
        window: &mut Window,
        y: &mut Buf,
    ) -> Result<()> {
        let c = window.spec.channels;
        if window.spec.history != 1 {
            return Err(
                Error::Shape { what: "history of an upsampling", expected: 1, found: window.spec.history }.into()
            );
        }
        check("upsampling kernel", 2 * stride * c, weight.len())?;
        let kernel = weight.0.narrow(0, 0, 2 * stride * c)?.reshape((2, 1, stride, c))?;
        let (now, tail) = (kernel.get(0)?, kernel.get(1)?); // [1, stride, c]
        for row in rows.active() {
            let all = window.extend(rows, row, &x.row("upsampling input", row, t, c)?)?.unsqueeze(1)?; // [1 + t, 1, c]
            let new = all.narrow(0, 1, t)?.broadcast_mul(&now)?; // [t, stride, c]
            let old = all.narrow(0, 0, t)?.broadcast_mul(&tail)?;
            y.set_row("upsampling output", row, &(new + old)?)?;
        }
        Ok(())
    }
}
