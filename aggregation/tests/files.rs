//! Files as NumPy and safetensors write them are read; files that lie are refused before anything is
//! allocated for them.

use std::path::PathBuf;

use cifer_aggregation::files::{OutputFile, Tensor, UpdateFile, check_layouts, read_weights};
use cifer_aggregation::{AggregationError, Sink, VectorSource};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// A version 1.0 file with this dictionary, padded as NumPy 2 pads it.
fn npy(dictionary: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{dictionary:<117}\n").as_bytes());
    // A longer one says so in its length.
    let length = (bytes.len() - 10) as u16;
    bytes[8..10].copy_from_slice(&length.to_le_bytes());
    assert_eq!(bytes.len(), 128.max(dictionary.len() + 11));
    bytes.extend(data);
    bytes
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn safetensors(json: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.extend(data);
    bytes
}

fn all(source: &dyn VectorSource) -> Vec<f32> {
    let mut out = vec![0.0; source.len()];
    source.read(0, &mut out).unwrap();
    out
}

fn open(bytes: &[u8]) -> Result<Vec<f32>, String> {
    let folder = Folder::new();
    let file = UpdateFile::open(folder.file("a", bytes)).map_err(|error| error.to_string())?;
    Ok(all(&file))
}

const F4: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
const VALUES: [f32; 6] = [1.5, -2.0, 0.1, 3.0, 4.0, 5.0];

#[test]
fn what_numpy_writes_is_read() {
    // numpy.lib.format.write_array of NumPy 2.4.6.
    assert_eq!(open(&npy(F4, &floats(&VALUES))).unwrap(), VALUES);
    let half = "{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }";
    assert_eq!(open(&npy(half, &[0, 0x3e, 0, 0xc0])).unwrap(), [1.5, -2.0]);
    let mut version_2 = b"\x93NUMPY\x02\x00\x74\x00\x00\x00".to_vec();
    let text = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }";
    version_2.extend(format!("{text:<115}\n").as_bytes());
    version_2.extend([0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f]);
    version_2.extend(1e300_f64.to_le_bytes());
    // 0.1 rounded from f64 is the f32 nearest to 0.1; 1e300 is beyond f32.
    assert_eq!(open(&version_2).unwrap(), [0.1, f32::INFINITY]);
    let empty = "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 7), }";
    assert!(open(&npy(empty, &[])).unwrap().is_empty());
    let scalar = "{'descr': '<f4', 'fortran_order': True, 'shape': (), }";
    assert_eq!(open(&npy(scalar, &floats(&[2.5]))).unwrap(), [2.5]);
}

#[test]
fn rows_are_updates() {
    let folder = Folder::new();
    let path = folder.file("rows.npy", &npy(F4, &floats(&VALUES)));
    let rows = UpdateFile::open_rows(&path).unwrap();
    let rows: Vec<_> = rows.iter().map(|row| all(row)).collect();
    assert_eq!(rows, [[1.5, -2.0, 0.1], [3.0, 4.0, 5.0]]);
    let flat = "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }";
    let path = folder.file("flat.npy", &npy(flat, &floats(&VALUES)));
    let error = UpdateFile::open_rows(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("shape is [6], expected two dimensions, updates by rows"),
        "{error}"
    );
    let many = "{'descr': '<f4', 'fortran_order': False, 'shape': (1025, 0), }";
    let path = folder.file("many.npy", &npy(many, &[]));
    let error = UpdateFile::open_rows(&path).unwrap_err().to_string();
    assert!(error.contains("at most 1024 rows"), "{error}");
}

#[test]
fn tensors_are_one_vector_by_name_whatever_their_order_and_kind() {
    let json = r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]},
        "b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"none":{"dtype":"F16","shape":[0],"data_offsets":[4,4]}}  "#;
    let mut data = vec![0xc0, 0x3f, 0x80, 0xbf];
    data.extend(floats(&[7.0, 8.0]));
    let folder = Folder::new();
    let file = UpdateFile::open(folder.file("a", &safetensors(json, &data))).unwrap();
    assert_eq!(all(&file), [1.5, -1.0, 7.0, 8.0]);
    let names: Vec<_> = file.tensors().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["b", "none", "w"]);
    // Any part, also across tensors.
    for start in 0..4 {
        for end in start..=4 {
            let mut out = vec![0.0; end - start];
            file.read(start, &mut out).unwrap();
            assert_eq!(out, &[1.5, -1.0, 7.0, 8.0][start..end]);
        }
    }
    let beyond = file.read(3, &mut [0.0; 2]);
    assert!(matches!(beyond, Err(AggregationError::OutOfBounds { .. })));
}

#[test]
fn a_long_vector_is_read_in_pieces() {
    let values: Vec<f32> = (0..20_000).map(|i| i as f32).collect();
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (20000,), }";
    let folder = Folder::new();
    let file = UpdateFile::open(folder.file("a", &npy(text, &floats(&values)))).unwrap();
    let mut out = vec![0.0; 19_000];
    file.read(999, &mut out).unwrap();
    assert_eq!(out, values[999..19_999]);
}

#[test]
fn lying_npy_headers_are_refused() {
    let data = floats(&VALUES);
    let with = |from: &str, to: &str| npy(&F4.replace(from, to), &data);
    let mut newer = npy(F4, &data);
    newer[6] = 9;
    let mut long = npy(F4, &data);
    (long[6], long[10], long[11]) = (2, 0xff, 0xff);
    let mut cut = npy(F4, &data);
    cut.truncate(60);
    let mut longer = npy(F4, &data);
    longer.push(0);
    let cases = [
        (newer, "version is 9, expected 1, 2 or 3"),
        (long, "expected at most 10000"),
        (
            cut,
            "header is 118 bytes from 10, expected within the 60 bytes",
        ),
        (
            longer,
            "shape is [2, 3] with 25 bytes behind it, expected 24 bytes",
        ),
        (npy(F4, &data[1..]), "with 23 bytes behind it"),
        (
            with("<f4", ">f4"),
            "descr is \">f4\", expected '<f2', '<f4' or '<f8'",
        ),
        (with("<f4", "<i4"), "descr is \"<i4\""),
        (with("<f4", "|O"), "descr is \"|O\""),
        (
            with("False", "True"),
            "fortran_order is True, expected False",
        ),
        (
            with("(2, 3)", "(4000000000000, 4000000000000)"),
            "at most 400000000 numbers",
        ),
        (with("(2, 3)", "(2, -3)"), "header is something else"),
        (with("(2, 3)", "(6)"), "header is something else"),
        (
            with("(2, 3)", "(2, 99999999999999999999)"),
            "header is something else",
        ),
        (with("'descr'", "'desc'"), "header is something else"),
        (
            with("'fortran_order': False", "'descr': '<f4'"),
            "header is something else",
        ),
        (with("}", "} import os"), "header is something else"),
        (with("{", "["), "header is something else"),
        (with("(2, 3)", "(1,"), "header is something else"),
    ];
    for (bytes, expected) in cases {
        let error = open(&bytes).unwrap_err();
        assert!(error.contains(expected), "{error} does not say {expected}");
    }
    let sides = format!("({})", "1,".repeat(33));
    let text = F4.replace("(2, 3)", &sides);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(floats(&[1.0]));
    let error = open(&bytes).unwrap_err();
    assert!(
        error.contains("33 dimensions, expected at most 32"),
        "{error}"
    );
}

#[test]
fn lying_safetensors_headers_are_refused() {
    let entry = |dtype: &str, shape: &str, from: u64, to: u64| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let one = |entry: &str| safetensors(&format!(r#"{{"a":{entry}}}"#), &floats(&[1.0, 2.0]));
    let two = |a: &str, b: &str, name: &str| {
        let json = format!(r#"{{"a":{a},"{name}":{b}}}"#);
        safetensors(&json, &floats(&[1.0, 2.0]))
    };
    let half = |from| entry("F32", "[1]", from, from + 4);
    let mut long = one(&half(0));
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let cases = [
        (
            b"hello".to_vec(),
            "header length is 8 bytes from 0, expected within the 5 bytes",
        ),
        (
            long,
            "header length is 18446744073709551615, expected at most",
        ),
        (safetensors("{", &[]), "expected JSON of tensors"),
        (safetensors(r#"{"a":1}"#, &[]), "expected JSON of tensors"),
        (one(&half(0)), "data_offsets is 4 to 8, expected every byte"),
        (two(&half(0), &half(0), "b"), "data_offsets is 4 to 0"),
        (
            two(&half(0), &half(4), "a"),
            "tensor is \"a\", expected each name once",
        ),
        (one(&entry("F32", "[3]", 0, 8)), "12 bytes within 8"),
        (
            one(&entry("F32", "[2]", 8, 0)),
            "data_offsets of tensor \"a\" is [8, 0]",
        ),
        (one(&entry("F32", "[4]", 0, 16)), "16 bytes within 8"),
        (
            one(&entry("I32", "[2]", 0, 8)),
            "dtype of tensor \"a\" is \"I32\"",
        ),
        (
            one(&entry("F32", "[4294967296,4294967296]", 0, 8)),
            "at most 400000000 numbers",
        ),
        (one(&entry("F32", "[-2]", 0, 8)), "expected JSON of tensors"),
        (
            one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}"#),
            "unknown field",
        ),
        (
            one(&entry("F32", &format!("[{}0]", "0,".repeat(32)), 0, 8)),
            "more than 32 dimensions",
        ),
        (
            two(&half(0), &half(4), ""),
            "tensor is \"\", expected a name",
        ),
    ];
    for (bytes, expected) in cases {
        let error = open(&bytes).unwrap_err();
        assert!(error.contains(expected), "{error} does not say {expected}");
    }
}

#[test]
fn foreign_text_is_shown_short_and_without_control_characters() {
    let long = format!("\u{1b}[31m{}", "x".repeat(5_000));
    let json = format!(r#"{{"a":{{"{}":1}}}}"#, long.replace('\u{1b}', "\\u001b"));
    let npy_text = format!("{{'descr': '{long}', 'fortran_order': False, 'shape': (2,), }}");
    for bytes in [
        safetensors(&json, &floats(&[1.0, 2.0])),
        npy(&npy_text, &floats(&[1.0, 2.0])),
    ] {
        let error = open(&bytes).unwrap_err();
        assert!(error.len() < 400, "{error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}

#[test]
fn named_tensors_have_to_be_the_same_in_all_files() {
    let folder = Folder::new();
    let file = |name: &str, bytes: &[u8]| UpdateFile::open(folder.file(name, bytes)).unwrap();
    let two = |a: &str, b: &str| {
        let entry = |from| {
            format!(
                r#"{{"dtype":"F32","shape":[1],"data_offsets":[{from},{}]}}"#,
                from + 4
            )
        };
        let json = format!(r#"{{"{a}":{},"{b}":{}}}"#, entry(0), entry(4));
        safetensors(&json, &floats(&[1.0, 2.0]))
    };
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
    let unnamed = file("n", &npy(text, &floats(&[1.0, 2.0])));
    let (first, same) = (file("f", &two("a", "b")), file("s", &two("b", "a")));
    let other = file("o", &two("a", "c"));
    check_layouts(&[unnamed.clone(), first.clone(), same]).unwrap();
    let error = check_layouts(&[unnamed, first, other])
        .unwrap_err()
        .to_string();
    assert!(error.contains("tensors is \"c\" [1]"), "{error}");
}

#[test]
fn a_result_has_as_many_numbers_as_its_header_says() {
    let folder = Folder::new();
    let tensor = |side| Tensor {
        name: "w".into(),
        shape: vec![side, 1 << 40],
    };
    let path = folder.0.path().join("out.npy");
    let error = OutputFile::create(&path, &[tensor(1 << 40)]).unwrap_err();
    assert!(error.to_string().contains("at most 400000000 numbers"));
    let three = Tensor {
        name: "w".into(),
        shape: vec![3],
    };
    let mut output = OutputFile::create(&path, &[three]).unwrap();
    output.write(&[1.0, 2.0]).unwrap();
    let error = output.finish().unwrap_err().to_string();
    assert!(error.contains("numbers is 2, expected 3"), "{error}");
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 0);
}

#[test]
fn weights_are_whole_numbers() {
    let folder = Folder::new();
    let text = "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }";
    let data = |a: i64, b: i64| [a.to_le_bytes(), b.to_le_bytes()].concat();
    let path = folder.file("w.npy", &npy(text, &data(3, 5)));
    assert_eq!(read_weights(path).unwrap(), [3, 5]);
    let path = folder.file("negative.npy", &npy(text, &data(3, -5)));
    let error = read_weights(path).unwrap_err().to_string();
    assert!(error.contains("weight 1 is another number"), "{error}");
    let path = folder.file("two.npy", &npy(F4, &floats(&VALUES)));
    let error = read_weights(path).unwrap_err().to_string();
    assert!(error.contains("one dimension"), "{error}");
}

#[test]
fn what_is_written_is_read_back_and_has_the_digest_of_its_numbers() {
    let folder = Folder::new();
    let tensors = [("b", vec![2_u64]), ("w", vec![2, 2])].map(|(name, shape)| Tensor {
        name: name.into(),
        shape,
    });
    for name in ["out.npy", "out.safetensors"] {
        let path = folder.0.path().join(name);
        let mut output = OutputFile::create(&path, &tensors).unwrap();
        output.write(&VALUES[..4]).unwrap();
        output.write(&VALUES[4..]).unwrap();
        assert!(!path.exists(), "not before it is whole");
        let digest = output.finish().unwrap();
        assert_eq!(digest.hash, blake3::hash(&floats(&VALUES)));
        assert_eq!(digest.len_bytes, 24);
        let file = UpdateFile::open(&path).unwrap();
        assert_eq!(all(&file), VALUES);
        if name.ends_with("safetensors") {
            assert_eq!(file.tensors(), tensors);
        }
    }
    // A version 1.0 header of NumPy, byte for byte.
    let expected = npy(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }",
        &floats(&VALUES),
    );
    assert_eq!(
        std::fs::read(folder.0.path().join("out.npy")).unwrap(),
        expected
    );

    let path = folder.0.path().join("dropped.npy");
    drop(OutputFile::create(&path, &tensors).unwrap());
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 2);
    let error = OutputFile::create(folder.0.path().join("out.txt"), &tensors).unwrap_err();
    assert!(error.to_string().contains("expected npy or safetensors"));
}
