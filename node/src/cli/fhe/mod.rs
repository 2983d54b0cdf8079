//! `cifer fhe`: keys, encrypted numbers and sums of them, in files.

mod files;

use std::path::{Path, PathBuf};

use cifer_homocryption::{
    Encoding, Error, Frame, PackedVector, PrivateKey, PublicKey, Scalar, add, decrypt, encrypt,
    generate_keys, mul, relinearize, sub,
};
use cifer_node::error::{Exit, Failure};
use cifer_node::files::{Access, write_new};
use clap::ValueEnum;
use eyre::WrapErr;
use serde_json::json;

use super::global::Global;
use super::output::{fields, print, show};
use files::{Encrypted, MAX_SCALARS, encrypted, numbers, one, scalars};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make public.key, private.key (mode 0600) and relin.key in a folder
    Keygen {
        /// The folder; made if missing, files in it are never overwritten
        #[arg(long, short, value_name = "DIR")]
        output: PathBuf,
    },
    /// Encrypt a file of numbers, separated by spaces or lines
    Encrypt(EncryptArgs),
    /// Add two encrypted files, number by number; needs no key
    Add(BinaryArgs),
    /// Subtract the second encrypted file from the first; needs no key
    Sub(BinaryArgs),
    /// Multiply two encrypted files of scalars, number by number
    Mul {
        #[command(flatten)]
        files: BinaryArgs,
        /// The relinearization key
        #[arg(long, value_name = "FILE")]
        relin: PathBuf,
    },
    /// Reset the noise of encrypted scalars, so that more can be added
    Relinearize {
        /// The encrypted file
        input: PathBuf,
        /// The file to write; never overwritten
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// The relinearization key
        #[arg(long, value_name = "FILE")]
        relin: PathBuf,
    },
    /// Decrypt a file and print its numbers, one a line
    Decrypt {
        /// The encrypted file
        input: PathBuf,
        /// The private key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct EncryptArgs {
    /// File of numbers
    input: PathBuf,
    /// The file to write; never overwritten
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The public key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What the numbers are
    #[arg(long = "as", value_enum, default_value_t = Form::Scalars)]
    form: Form,
    /// 14-bit limbs of a packed number, 1 to 5
    #[arg(long, default_value_t = 2)]
    limbs: u8,
    /// Bits after the point of a fixed-point number, 0 to 40
    #[arg(long, default_value_t = 16)]
    scale_bits: u8,
}

/// Forms of encrypted numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Signed 64-bit integers, 17 KB each: can be added, multiplied and relinearized
    Scalars,
    /// A packed vector of integers, 16 bytes a number and limb: can be added, up to 1023 times
    Integers,
    /// A packed vector of fixed-point numbers, 16 bytes a number and limb: can be added, up to 1023 times
    Fixed,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BinaryArgs {
    /// The first encrypted file
    left: PathBuf,
    /// The second encrypted file
    right: PathBuf,
    /// The file to write; never overwritten
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn run(global: &Global, command: Command) -> eyre::Result<()> {
    match command {
        Command::Keygen { output } => keygen(global, &output),
        Command::Encrypt(args) => encrypt_file(global, &args),
        Command::Add(files) => sum(global, &files, add, PackedVector::add),
        Command::Sub(files) => sum(global, &files, sub, PackedVector::sub),
        Command::Mul { files, relin } => {
            let relin = one(&relin)?;
            let (left, right) = (scalars(&files.left)?, scalars(&files.right)?);
            let product = pairwise(&left, &right, |a, b| mul(a, b, &relin))?;
            write(global, &files.output, &product)
        }
        Command::Relinearize {
            input,
            output,
            relin,
        } => {
            let relin = one(&relin)?;
            let values = scalars(&input)?;
            let clean = values.iter().map(|value| relinearize(value, &relin));
            write(global, &output, &clean.collect::<Result<Vec<_>, _>>()?)
        }
        Command::Decrypt { input, key } => decrypt_file(global, &input, &key),
    }
}

fn keygen(global: &Global, folder: &Path) -> eyre::Result<()> {
    std::fs::create_dir_all(folder).wrap_err_with(|| unwritable(folder))?;
    let path = |name: &str| folder.join(name);
    let names = ["public.key", "private.key", "relin.key"];
    if let Some(name) = names.iter().find(|name| path(name).exists()) {
        let text = format!("{} exists", path(name).display());
        return Err(Failure::new(Exit::Failure, text, "choose another folder").into());
    }
    let (public, private, relin) = generate_keys()?;
    let secret = private.to_secret_bytes();
    new_file(&path(names[1]), &secret, Access::Owner)?;
    new_file(&path(names[0]), &public.to_bytes(), Access::Public)?;
    new_file(&path(names[2]), &relin.to_bytes(), Access::Public)?;
    let id = public.key_id().to_string();
    let [public, private, relin] = names.map(|name| path(name).display().to_string());
    let result = json!({
        "key_id": id, "public_key": public, "private_key": private, "relin_key": relin,
    });
    show(global.json, &result, |_| {
        fields([
            ("key id", id),
            ("public", public),
            ("private", private),
            ("relin", relin),
        ])
    })
}

fn encrypt_file(global: &Global, args: &EncryptArgs) -> eyre::Result<()> {
    let public: PublicKey = one(&args.key)?;
    match args.form {
        Form::Fixed => {
            let encoding = Encoding::fixed_point(args.limbs, args.scale_bits)?;
            let vector = PackedVector::encrypt_f32(&public, encoding, &numbers(&args.input)?)?;
            write(global, &args.output, &[vector])
        }
        Form::Integers => {
            let encoding = Encoding::integers(args.limbs)?;
            let vector = PackedVector::encrypt(&public, encoding, &numbers(&args.input)?)?;
            write(global, &args.output, &[vector])
        }
        Form::Scalars => {
            let numbers = numbers::<i64>(&args.input)?;
            if numbers.len() > MAX_SCALARS {
                let text = format!("{} numbers, at most {MAX_SCALARS} scalars", numbers.len());
                let next = "encrypt them as a packed vector: --as integers";
                return Err(Failure::new(Exit::Refused, text, next).into());
            }
            let scalars = numbers.iter().map(|number| encrypt(&public, *number));
            write(
                global,
                &args.output,
                &scalars.collect::<Result<Vec<_>, _>>()?,
            )
        }
    }
}

/// Combines two files of the same form.
fn sum(
    global: &Global,
    paths: &BinaryArgs,
    scalar: impl Fn(&Scalar, &Scalar) -> Result<Scalar, Error>,
    vector: impl Fn(&PackedVector, &PackedVector) -> Result<PackedVector, Error>,
) -> eyre::Result<()> {
    match (encrypted(&paths.left)?, encrypted(&paths.right)?) {
        (Encrypted::Scalars(left), Encrypted::Scalars(right)) => {
            write(global, &paths.output, &pairwise(&left, &right, scalar)?)
        }
        (Encrypted::Vector(left), Encrypted::Vector(right)) => {
            write(global, &paths.output, &[vector(&left, &right)?])
        }
        _ => {
            let text = "one file holds scalars, the other a packed vector";
            Err(Failure::new(Exit::Refused, text, "encrypt both in the same form, --as").into())
        }
    }
}

fn pairwise(
    left: &[Scalar],
    right: &[Scalar],
    combine: impl Fn(&Scalar, &Scalar) -> Result<Scalar, Error>,
) -> Result<Vec<Scalar>, Error> {
    if left.len() != right.len() {
        return Err(Error::Length {
            left: left.len(),
            right: right.len(),
        });
    }
    left.iter()
        .zip(right)
        .map(|(left, right)| combine(left, right))
        .collect()
}

fn decrypt_file(global: &Global, input: &Path, key: &Path) -> eyre::Result<()> {
    let private = PrivateKey::load(key)?;
    let numbers: Vec<String> = match encrypted(input)? {
        Encrypted::Scalars(scalars) => {
            let numbers = scalars.iter().map(|scalar| decrypt(&private, scalar));
            strings(numbers.collect::<Result<Vec<i64>, _>>()?)
        }
        Encrypted::Vector(vector) if vector.encoding().scale_bits().is_none() => {
            strings(vector.decrypt(&private)?)
        }
        Encrypted::Vector(vector) => strings(vector.decrypt_f32(&private)?),
    };
    if global.json {
        return print(format!("[{}]", numbers.join(",")));
    }
    print(numbers.join("\n"))
}

/// The shortest digits that are read back as the same number; also right in JSON, since none is infinite.
fn strings(numbers: Vec<impl std::fmt::Debug>) -> Vec<String> {
    numbers
        .into_iter()
        .map(|number| format!("{number:?}"))
        .collect()
}

fn new_file(path: &Path, bytes: &[u8], access: Access) -> eyre::Result<()> {
    write_new(path, bytes, access).wrap_err_with(|| unwritable(path))
}

fn unwritable(path: &Path) -> String {
    format!("{} cannot be written", path.display())
}

/// Writes frames one after the other, and says what was written.
fn write<T: Frame>(global: &Global, path: &Path, frames: &[T]) -> eyre::Result<()> {
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
    new_file(path, &bytes, Access::Public)?;
    let (file, kind, size) = (path.display().to_string(), T::KIND.name(), bytes.len());
    let count = frames.len();
    let result = json!({ "file": file, "kind": kind, "frames": count, "bytes": size });
    show(global.json, &result, |_| {
        fields([
            ("file", file),
            ("holds", format!("{count} x {kind}")),
            ("bytes", size.to_string()),
        ])
    })
}
