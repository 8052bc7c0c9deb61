//! What every executor must do: the suite that a new one passes before anybody runs a model on it.
//!
//! `backend_conformance!(name, make, reference, tolerance)` makes all of it for one executor: each operation against its
//! definition, every streaming layer under any chunking and company, long random scripts against the reference, and
//! stretches that are recorded.
#![allow(clippy::unwrap_used)] // a failure is the test's answer

pub mod definitions;
pub mod draws;
pub mod layers;
pub mod script;

pub use script::agrees_with_the_reference;

/// Makes the tests of an executor in a module `$name`: `$backend` evaluates to the executor, `$reference` to the one that
/// it must agree with within the relative difference `$tolerance` (codes and tokens exactly).
#[macro_export]
macro_rules! backend_conformance {
    ($name:ident, $backend:expr, $reference:expr, $tolerance:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            #[test]
            fn agrees_with_the_reference() {
                $crate::executor::agrees_with_the_reference($reference, $backend, $tolerance);
            }

            #[test]
            fn draws_the_tokens_of_the_reference() {
                $crate::executor::draws::draws_the_tokens_of_the_reference($reference, $backend);
            }

            #[test]
            fn agrees_with_itself_when_recorded() {
                let recorder = $crate::Recorder::new($backend);
                assert!(
                    $crate::executor::script::script(recorder, 1, 20)
                        == $crate::executor::script::script($backend, 1, 20)
                );
            }

            $crate::backend_conformance!(@definitions $backend, [
                linear_is_a_product_with_bias,
                norms_and_activations_follow_their_equations,
                convolutions_follow_their_equations,
                upsampling_overlaps_two_inputs,
                rotations_stay_exact_after_hours,
                low_rank_pairs_are_added_for_the_rows_that_ask,
                a_row_reads_the_table_of_its_adapter,
                queries_attend_to_what_a_row_was_filled_with,
                guided_rows_share_their_logits,
                the_nearest_code_is_subtracted_and_ties_go_low,
                embeddings_sum_and_skip_nothing,
                samples_are_greedy_or_forced_and_leave_others_alone,
                logits_that_are_no_numbers_are_one_rows_fault,
                an_id_out_of_range_is_one_rows_fault,
                a_vector_that_is_not_finite_is_one_rows_fault,
                wrong_sizes_are_errors,
            ]);

            mod layers {
                #[allow(unused_imports)]
                use super::*;
                use $crate::executor::layers::{self, C_IN, C_OUT};
                use $crate::executor::layers::{ConvConfig, Padding};

                $crate::stream_conformance!(mimi_like, layers::stack($backend, layers::mimi_like()));
                $crate::stream_conformance!(hibiki_like, layers::stack($backend, layers::hibiki_like()));
                $crate::stream_conformance!(with_memory, layers::stack($backend, layers::with_memory()));
                $crate::stream_conformance!(context_one, layers::stack($backend, layers::without_positions()));
                $crate::stream_conformance!(conv, layers::plain($backend, ConvConfig::plain(C_IN, C_OUT, 7)));
                $crate::stream_conformance!(
                    dilated_conv,
                    layers::plain($backend, ConvConfig::plain(C_IN, C_OUT, 3).dilation(4).elu())
                );
                $crate::stream_conformance!(
                    conv_of_one_tap,
                    layers::plain($backend, ConvConfig::plain(C_IN, C_OUT, 1).elu())
                );
                $crate::stream_conformance!(
                    strided_conv,
                    layers::plain($backend, ConvConfig::plain(C_IN, C_OUT, 8).stride(4).elu())
                );
                $crate::stream_conformance!(
                    replicate_padded_conv,
                    layers::plain($backend, ConvConfig::plain(C_IN, C_OUT, 6).stride(2).padding(Padding::Replicate))
                );
                $crate::stream_conformance!(
                    transposed_conv,
                    layers::transpose($backend, ConvConfig::plain(C_IN, C_OUT, 8).stride(4).elu())
                );
                $crate::stream_conformance!(
                    transposed_conv_of_uneven_kernel,
                    layers::transpose($backend, ConvConfig::plain(C_IN, C_OUT, 7).stride(3))
                );
                $crate::stream_conformance!(upsampling, layers::upsample($backend, 2));
            }
        }
    };
    (@definitions $backend:expr, [$($test:ident),* $(,)?]) => {
        $(
            #[test]
            fn $test() {
                $crate::executor::definitions::$test($backend);
            }
        )*
    };
}
