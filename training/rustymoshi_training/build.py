"""The whole way from nothing to an exported model, unattended: `python -m rustymoshi_training.build`.

Each stage is one of the other scripts with its own checkpoint, so that this can be stopped and
started again at any time.
After the codec is frozen, language model and decoder are trained in turns and exported after each turn.
"""

import argparse
import shutil
import subprocess
import sys

from .paths import folder, root


def run(module: str, *arguments: str) -> None:
    """One stage; a failure stops the build."""
    print(f"== {module} {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", f"rustymoshi_training.{module}", *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--name", default="", help="ending of all checkpoint names, to build a second model beside the first"
    )
    parser.add_argument("--codec-minutes", type=int, default=480)
    parser.add_argument("--bins", type=int, default=1024, help="vectors in a codebook: what fits into 24 MB")
    parser.add_argument("--sight-minutes", type=int, default=60)
    parser.add_argument("--encoder-minutes", type=int, default=480)
    parser.add_argument("--decoder-minutes", type=int, default=480)
    parser.add_argument("--lm-minutes", type=int, default=1_440)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--line-shards", type=int, default=100)
    args = parser.parse_args()
    parts = ("codec", "codec_sight", "codec_anew", "codec_frozen", "codec_decoder", "lm")
    codec, sight, anew, frozen, decoder, lm = (part + args.name for part in parts)
    run("corpus")
    run("lines", "--shards", str(args.line_shards))
    run("lines", "--topic", "stop", "--first", str(args.line_shards), "--shards", "2")
    run("codec_train", "--name", codec, "--batch", "8", "--minutes", str(args.codec_minutes))
    run("render", "--shards", str(args.shards))
    books = ("--bins", str(args.bins))
    run("sight_train", "--name", sight, "--start-from", codec, *books, "--minutes", str(args.sight_minutes))
    run("encoder_train", "--name", anew, "--start-from", sight, "--minutes", str(args.encoder_minutes))
    target = folder("checkpoints") / f"{frozen}.pt"
    if not target.exists():
        shutil.copy(folder("checkpoints") / f"{anew}.pt", target)
    run("encode", "--codec", frozen)
    for turn in range(1, args.turns + 1):
        # The full minutes keep one learning rate schedule over all turns; each turn ends at its share of them.
        share = turn / args.turns
        run(
            "lm_train",
            "--name",
            lm,
            "--codec",
            frozen,
            "--minutes",
            str(args.lm_minutes),
            "--until",
            str(args.lm_minutes * share),
        )
        run(
            "decoder_train",
            "--name",
            decoder,
            "--start-from",
            frozen,
            *("--hum", "0", "--phase", "0"),  # the codes tell no phases
            *(["--adversary"] if share > 0.5 else []),  # four times as slow: only once the rest has been learned
            "--minutes",
            str(args.decoder_minutes),
            "--until",
            str(args.decoder_minutes * share),
        )
        run(
            "export",
            "--lm",
            lm,
            "--codec",
            decoder,
            "--int8",
            "--int8-tables",
            "--out",
            str(root() / f"export{args.name}"),
        )
    run("evaluate", "--folder", str(root() / f"export{args.name}"), "--count", "100")


if __name__ == "__main__":
    main()
