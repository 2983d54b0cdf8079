//! `cifer version`: what exactly this binary is.

use serde_json::json;

use super::global::Global;
use super::output::{fields, show};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const COMMIT: &str = env!("CIFER_BUILD_COMMIT");
const COMPILER: &str = env!("CIFER_BUILD_COMPILER");
const ENGINE: &str = env!("CIFER_BUILD_ENGINE");

pub(crate) fn run(global: &Global) -> eyre::Result<()> {
    let result =
        json!({ "version": VERSION, "commit": COMMIT, "compiler": COMPILER, "engine": ENGINE });
    show(global.json, &result, |_| {
        fields([
            ("cifer", VERSION.to_owned()),
            ("commit", COMMIT.to_owned()),
            ("compiler", COMPILER.to_owned()),
            ("engine", ENGINE.to_owned()),
        ])
    })
}
