//! Compiles `cifer/v1/*.proto` with protox (no protoc needed) and generates the Rust code. The
//! descriptor set keeps the comments, so that reflection clients see them.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=cifer");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files([
        "cifer/v1/types.proto",
        "cifer/v1/query.proto",
        "cifer/v1/contribute.proto",
    ])?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("cifer_descriptor.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .bytes(".cifer.v1.DownloadModelResponse.chunk")
        .bytes(".cifer.v1.SubmitUpdateRequest.chunk")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
