//! Nothing but a list of dependencies: cargo decides a dependency's features by what is built together, so that the
//! server alone, the wheel alone and the tests of all crates would each compile two hundred crates of their own. The
//! server and the wheel name this crate, which asks for what the tests ask for, and all three share one build.
