//! The descriptor set decodes, names both services, and every element in it has a comment.

use cifer_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptor set decodes")
}

#[test]
fn both_services_are_listed() {
    let set = descriptors();
    let mut services: Vec<_> = set
        .file
        .iter()
        .flat_map(|file| {
            file.service
                .iter()
                .map(|service| format!("{}.{}", file.package(), service.name()))
        })
        .collect();
    services.sort();
    assert_eq!(
        services,
        ["cifer.v1.ContributeService", "cifer.v1.QueryService"]
    );
}

/// Paths (as `SourceCodeInfo` counts them: field number, index, …) and names of what needs a comment.
fn elements(file: &FileDescriptorProto) -> Vec<(Vec<i32>, String)> {
    let mut found = Vec::new();
    for (index, message) in file.message_type.iter().enumerate() {
        message_elements(vec![4, index as i32], message, &mut found);
    }
    for (index, item) in file.enum_type.iter().enumerate() {
        enum_elements(vec![5, index as i32], item, &mut found);
    }
    for (index, service) in file.service.iter().enumerate() {
        let path = vec![6, index as i32];
        found.push((path.clone(), service.name().to_owned()));
        for (index, method) in service.method.iter().enumerate() {
            let name = format!("{}.{}", service.name(), method.name());
            found.push((child(&path, 2, index), name));
        }
    }
    found
}

fn child(path: &[i32], field: i32, index: usize) -> Vec<i32> {
    [path, &[field, index as i32]].concat()
}

fn message_elements(
    path: Vec<i32>,
    message: &DescriptorProto,
    found: &mut Vec<(Vec<i32>, String)>,
) {
    found.push((path.clone(), message.name().to_owned()));
    for (index, field) in message.field.iter().enumerate() {
        let name = format!("{}.{}", message.name(), field.name());
        found.push((child(&path, 2, index), name));
    }
    for (index, nested) in message.nested_type.iter().enumerate() {
        message_elements(child(&path, 3, index), nested, found);
    }
    for (index, nested) in message.enum_type.iter().enumerate() {
        enum_elements(child(&path, 4, index), nested, found);
    }
}

fn enum_elements(path: Vec<i32>, item: &EnumDescriptorProto, found: &mut Vec<(Vec<i32>, String)>) {
    found.push((path.clone(), item.name().to_owned()));
    for (index, value) in item.value.iter().enumerate() {
        found.push((child(&path, 2, index), value.name().to_owned()));
    }
}

#[test]
fn everything_has_a_comment() {
    let mut seen = 0;
    for file in &descriptors().file {
        let info = file.source_code_info.as_ref().expect("source info is kept");
        for (path, name) in elements(file) {
            let commented = info.location.iter().any(|location| {
                location.path == path && !location.leading_comments().trim().is_empty()
            });
            assert!(commented, "{name} in {} has no comment", file.name());
            seen += 1;
        }
    }
    assert!(seen > 200, "only {seen} elements were looked at");
}

#[test]
fn names_follow_the_style() {
    for file in &descriptors().file {
        for service in &file.service {
            for method in &service.method {
                assert_eq!(
                    method.input_type(),
                    format!(".cifer.v1.{}Request", method.name())
                );
                assert_eq!(
                    method.output_type(),
                    format!(".cifer.v1.{}Response", method.name())
                );
            }
        }
        for item in &file.enum_type {
            let prefix = screaming(item.name());
            assert_eq!(item.value[0].name(), format!("{prefix}_UNSPECIFIED"));
            assert_eq!(item.value[0].number(), 0);
            for value in &item.value {
                assert!(
                    value.name().starts_with(&format!("{prefix}_")),
                    "{}",
                    value.name()
                );
            }
        }
    }
}

fn screaming(camel: &str) -> String {
    let mut text = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}
