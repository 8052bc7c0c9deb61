//! Compiles the kernels for the processor, if the feature `host` asks for it.

fn main() {
    println!("cargo:rerun-if-changed=kernels");
    #[cfg(feature = "host")]
    host();
}

#[cfg(feature = "host")]
fn host() {
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .flag("-ffp-contract=off")
        .flag_if_supported(if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
            "-mfma"
        } else {
            "-O2"
        })
        .opt_level(2)
        .warnings(false)
        .file("kernels/host.cc")
        .compile("moshi_gpu_host");
}
