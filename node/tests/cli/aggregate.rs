//! `cifer aggregate` on files of other programs.

use crate::support::Sandbox;

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// As NumPy writes it, version 1.0.
fn npy(shape: &str, values: &[f32]) -> Vec<u8> {
    array("<f4", shape, &floats(values))
}

fn array(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{text:<117}\n").as_bytes());
    bytes.extend(data);
    bytes
}

fn safetensors(name: &str, values: &[f32]) -> Vec<u8> {
    let end = 4 * values.len();
    let shape = values.len();
    let json =
        format!(r#"{{"{name}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,{end}]}}}}"#);
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.extend(floats(values));
    bytes
}

fn three() -> Sandbox {
    let sandbox = Sandbox::new();
    for (name, bytes) in [
        ("a.npy", npy("(2,)", &[1.0, 10.0])),
        ("b.npy", npy("(2,)", &[2.0, 20.0])),
        ("c.safetensors", safetensors("w", &[90.0, -30.0])),
        (
            "rows.npy",
            npy("(3, 2)", &[1.0, 10.0, 2.0, 20.0, 90.0, -30.0]),
        ),
        ("bad.npy", npy("(2,)", &[f32::NAN, 1.0])),
        ("longer.npy", npy("(3,)", &[1.0, 2.0, 3.0])),
        ("cut.npy", npy("(3,)", &[1.0, 2.0])),
        ("other.safetensors", safetensors("v", &[1.0, 2.0])),
        ("weights.npy", array("|u1", "(3,)", &[3, 1, 0])),
        ("two.npy", array("|u1", "(2,)", &[3, 1])),
    ] {
        std::fs::write(sandbox.path(name), bytes).unwrap();
    }
    sandbox
}

#[test]
fn files_and_rows_give_the_same_result_and_digest() {
    let sandbox = three();
    let files = "aggregate --json --pipeline median --out y.npy a.npy b.npy c.safetensors";
    let json = sandbox.run(files).json();
    let expected = [2.0_f32, 10.0];
    let written = std::fs::read(sandbox.path("y.npy")).unwrap();
    assert_eq!(written, npy("(2,)", &expected));
    assert_eq!(json["pipeline"], "median");
    assert_eq!(
        (&json["updates"], &json["coordinates"]),
        (&3.into(), &2.into())
    );
    let digest = blake3::hash(&floats(&expected)).to_string();
    assert_eq!(json["digest"], digest);
    assert_eq!(json["counted"].as_array().unwrap().len(), 3);

    let rows = "aggregate --json --pipeline median --out y.safetensors rows.npy";
    let json = sandbox.run(rows).json();
    assert_eq!(json["digest"], digest);
    let written = std::fs::read(sandbox.path("y.safetensors")).unwrap();
    assert!(written.ends_with(&floats(&expected)));
    // What was written can be read.
    sandbox
        .run("aggregate --pipeline fedavg --out z.npy y.npy y.safetensors")
        .ok();
    let written = std::fs::read(sandbox.path("z.npy")).unwrap();
    assert_eq!(written, npy("(2,)", &expected));
}

#[test]
fn pipelines_weights_and_the_shares_that_count() {
    let sandbox = three();
    let weighted = "aggregate --json --pipeline fedavg --weights weights.npy --out y.npy rows.npy";
    let json = sandbox.run(weighted).json();
    let counted = json["counted"].as_array().unwrap();
    let shares: Vec<_> = counted.iter().map(|one| &one["share"]).collect();
    assert_eq!(shares, [0.75, 0.25]);
    let written = std::fs::read(sandbox.path("y.npy")).unwrap();
    assert_eq!(written, npy("(2,)", &[1.25, 12.5]));

    let clipped = "aggregate --pipeline clip:radius=50,nnm,trimmed-mean --f 1 --out y.npy a.npy b.npy c.safetensors";
    let text = sandbox.run(clipped).ok();
    assert!(
        text.contains("clip:radius_ppm=50000000,nnm:f=1,trimmed-mean:f=1")
            || text.contains("clip:radius=50,nnm:f=1,trimmed-mean:f=1"),
        "{text}"
    );
    assert!(text.contains("c.safetensors"), "{text}");
    let rows = "aggregate --pipeline median --out y.npy rows.npy";
    let text = sandbox.run(rows).ok();
    assert!(text.contains("rows.npy row 2"), "{text}");
}

#[test]
fn what_cannot_be_aggregated_is_refused_by_name() {
    let sandbox = three();
    let fails = |code, rest: &str, says: &str| {
        let error = sandbox.run(&format!("aggregate {rest}")).fails(code);
        assert!(error.contains(says), "{error} does not say {says}");
        assert!(!sandbox.path("y.npy").exists());
        assert!(!sandbox.path("y.npy.partial").exists());
    };
    let median = "--pipeline median --out y.npy";
    fails(
        3,
        &format!("{median} a.npy cut.npy"),
        "cut.npy: shape is [3] with 8 bytes",
    );
    fails(3, &format!("{median} a.npy longer.npy"), "longer.npy");
    fails(3, &format!("{median} a.npy bad.npy"), "bad.npy");
    fails(3, &format!("{median} a.npy missing.npy"), "missing.npy");
    fails(3, &format!("{median} a.npy"), "two dimensions");
    fails(
        3,
        &format!("{median} c.safetensors other.safetensors"),
        "\"v\" [2]",
    );
    fails(
        3,
        "--pipeline median --out y.txt rows.npy",
        "expected npy or safetensors",
    );
    let weights = "--pipeline fedavg --weights two.npy --out y.npy rows.npy";
    fails(3, weights, "2 weights for 3 updates");
    fails(
        2,
        "--pipeline trimmed-mean --f 2 --out y.npy rows.npy",
        "n >= 2f+1",
    );
    let unknown = sandbox.run("aggregate --pipeline mode --out y.npy rows.npy");
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("trimmed-mean"), "{unknown:?}");
}
