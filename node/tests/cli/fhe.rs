//! Encrypted numbers in files.

use crate::support::Sandbox;

#[cfg(not(feature = "fhe"))]
#[test]
fn a_binary_without_it_says_how_to_get_it() {
    let error = Sandbox::new().run("fhe add a b --output c").fails(2);
    assert!(error.contains("--features fhe"), "{error}");
}

/// One test: making keys takes seconds.
#[cfg(feature = "fhe")]
#[test]
fn numbers_are_encrypted_summed_multiplied_and_decrypted() {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    let sandbox = Sandbox::new();
    let write = |name: &str, text: &str| fs::write(sandbox.path(name), text).unwrap();
    let made = sandbox.run("fhe keygen --output k --json").json();
    assert_eq!(made["key_id"].as_str().unwrap().len(), 32);
    let private = sandbox.path("k/private.key");
    assert_eq!(
        fs::metadata(&private).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    sandbox.run("fhe keygen --output k").fails(1);

    // The seed's example, as scalars.
    write("a.txt", "42 123\n256\n");
    write("b.txt", "123 -123 -9223372036854775808\n");
    for name in ["a", "b"] {
        sandbox
            .run(&format!(
                "fhe encrypt {name}.txt --key k/public.key --output {name}"
            ))
            .ok();
    }
    sandbox.run("fhe add a b --output sum").ok();
    sandbox
        .run("fhe relinearize sum --relin k/relin.key --output clean")
        .ok();
    let decrypt = |name: &str| {
        sandbox
            .run(&format!("fhe decrypt {name} --key k/private.key"))
            .ok()
    };
    assert_eq!(decrypt("clean"), "165\n0\n-9223372036854775552\n");
    let error = sandbox.run("fhe add a b --output sum").fails(1);
    assert!(error.contains("sum cannot be written"), "{error}");
    sandbox.run("fhe sub b a --output difference").ok();
    let error = sandbox
        .run("fhe decrypt difference --key k/private.key")
        .fails(1);
    assert!(error.contains("overflow"), "{error}");

    // The budget ends with advice.
    sandbox.run("fhe add sum sum --output four").ok();
    let error = sandbox.run("fhe add four sum --output six").fails(1);
    assert!(error.contains("noise budget spent, relinearize"), "{error}");
    assert!(error.contains("next: cifer fhe relinearize"), "{error}");

    // Packed vectors.
    write("c.txt", "0.5 -2.25\n3\n");
    sandbox
        .run("fhe encrypt c.txt --as fixed --key k/public.key --output c")
        .ok();
    sandbox.run("fhe add c c --output d").ok();
    assert_eq!(decrypt("d"), "1.0\n-4.5\n6.0\n");
    let error = sandbox.run("fhe add c a --output e").fails(3);
    assert!(error.contains("a packed vector"), "{error}");
    let error = sandbox
        .run("fhe decrypt k/relin.key --key k/private.key")
        .fails(3);
    assert!(error.contains("found a relinearization key"), "{error}");
    write("e.txt", "1 2 x");
    let error = sandbox
        .run("fhe encrypt e.txt --key k/public.key --output e")
        .fails(3);
    assert!(error.contains("e.txt:1: x is no i64"), "{error}");

    // A loose private key, and a damaged ciphertext.
    fs::set_permissions(&private, fs::Permissions::from_mode(0o644)).unwrap();
    let error = sandbox.run("fhe decrypt d --key k/private.key").fails(3);
    assert!(error.contains("0644"), "{error}");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(sandbox.path("d")).unwrap();
    bytes[500] ^= 1;
    fs::write(sandbox.path("d"), bytes).unwrap();
    let error = sandbox.run("fhe decrypt d --key k/private.key").fails(3);
    assert!(error.contains("altered"), "{error}");
}
