//! Every member in the layouts of the other programs.

use std::num::NonZeroUsize;

use moshi_checkpoint::Parts;
use moshi_checkpoint::export::{Export, Numbers, WriteLayout, write_model};

use crate::{Derived, FAMILY, HIBIKI, Member, PERSONAPLEX, without};

/// The model file of a member in another layout, with its own configuration beside it.
fn written(member: &Member, layout: WriteLayout) -> Derived {
    let export = Export { layout, numbers: Numbers::Keep, requantize: false, threads: NonZeroUsize::MIN };
    let made = Derived::new().config(&without(member.config_json(), &["moshi_name"]));
    write_model(&member.open(), &made.path(export.file_name()), &export, &mut |_, _| ()).unwrap();
    made
}

#[test]
fn every_member_is_the_same_model_in_every_layout() {
    for member in FAMILY {
        for layout in [WriteLayout::PyTorch, WriteLayout::Candle, WriteLayout::Mlx] {
            let repository = written(&member, layout).open(Parts::LM);
            assert_eq!(repository.warnings().len(), usize::from(member.config_json().is_empty()), "{repository:?}");
            member.assert_is(&format!("{layout:?}"), &repository);
        }
    }
}

#[test]
fn sizes_are_read_from_tensors_in_every_layout() {
    for layout in [WriteLayout::PyTorch, WriteLayout::Candle, WriteLayout::Mlx, WriteLayout::Gguf] {
        let made = written(&PERSONAPLEX, layout);
        std::fs::remove_file(made.path("config.json")).unwrap();
        let repository = made.open(Parts::LM);
        let (found, expected) = (repository.config().lm.clone(), PERSONAPLEX.open().config().lm.clone());
        assert_eq!(found, expected, "{layout:?}");
    }
}

#[test]
fn parts_that_the_configuration_leaves_out_are_found_in_every_layout() {
    for layout in [WriteLayout::PyTorch, WriteLayout::Candle, WriteLayout::Mlx] {
        let made = written(&HIBIKI, layout);
        let config = without(HIBIKI.config_json(), &["moshi_name", "depformer_low_rank_embeddings"]);
        HIBIKI.assert_is(&format!("low rank, {layout:?}"), &made.config(&config).open(Parts::LM));
    }
}
