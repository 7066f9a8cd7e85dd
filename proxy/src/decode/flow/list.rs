//! Structured data (RFC 6313): lists of values, of records of one template, of records of several.
//!
//! ```text
//! basicList             {"Semantic":"ordered","Element":"interfaceName","Values":["a","b"]}
//! subTemplateList       {"Semantic":"allOf","TemplateId":257,"Records":[{…},{…}]}
//! subTemplateMultiList  {"Semantic":"allOf","Lists":[{"TemplateId":257,"Records":[…]}]}
//! ```
//! What cannot be read — an unknown template, a list cut short, lists in lists beyond [`MAX_DEPTH`] — is kept as
//! hexadecimal text in `Undecoded`. Every value takes at least one byte, so a list is bounded by its bytes.

use super::{
    address::push_hex,
    digits::push_u64,
    element::Type,
    fields::{Context, push_record, take},
    record::Line,
    template::{Template, VARIABLE, known},
    value::{self, Form},
};

/// Deepest nesting of lists in lists.
const MAX_DEPTH: u8 = 4;

/// Appends the list as an object.
pub fn push(kind: Type, bytes: &[u8], context: &Context<'_>, out: &mut Vec<u8>) {
    let Some((semantic, rest)) = bytes.split_first().filter(|_| context.depth < MAX_DEPTH) else {
        out.extend_from_slice(b"{\"Undecoded\":\"");
        push_hex(bytes, out);
        return out.extend_from_slice(b"\"}");
    };
    let context = &Context { depth: context.depth + 1, ..*context };
    push_semantic(*semantic, out);
    let left = match kind {
        Type::BasicList => push_basic(rest, context, out),
        Type::SubTemplateList => push_one(rest, context, out),
        _ => push_several(rest, context, out),
    };
    push_undecoded(left, out);
    out.push(b'}');
}

fn push_semantic(semantic: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"Semantic\":");
    let word: &[u8] = match semantic {
        0 => b"\"noneOf\"",
        1 => b"\"exactlyOneOf\"",
        2 => b"\"oneOrMoreOf\"",
        3 => b"\"allOf\"",
        4 => b"\"ordered\"",
        255 => b"\"undefined\"",
        other => return push_u64(u64::from(other), out),
    };
    out.extend_from_slice(word);
}

fn push_undecoded(left: &[u8], out: &mut Vec<u8>) {
    if !left.is_empty() {
        out.extend_from_slice(b",\"Undecoded\":\"");
        push_hex(left, out);
        out.push(b'"');
    }
}

/// Returns what is left over.
fn push_basic<'a>(bytes: &'a [u8], context: &Context<'_>, out: &mut Vec<u8>) -> &'a [u8] {
    let Some(([i0, i1, l0, l1], mut rest)) = bytes.split_first_chunk() else { return bytes };
    let (mut id, length) = (u16::from_be_bytes([*i0, *i1]), u16::from_be_bytes([*l0, *l1]));
    let mut pen = 0;
    if id & 0x8000 != 0 {
        let Some((number, after)) = rest.split_first_chunk() else { return bytes };
        (id, pen, rest) = (id & 0x7fff, u32::from_be_bytes(*number), after);
    }
    let fixed = (length != VARIABLE).then_some(usize::from(length));
    let known = known(pen, id);
    out.extend_from_slice(b",\"Element\":\"");
    if let Some((name, _)) = &known {
        out.extend_from_slice(name.as_bytes());
    } else {
        push_u64(u64::from(pen), out);
        out.push(b':');
        push_u64(u64::from(id), out);
    }
    out.extend_from_slice(b"\",\"Values\":[");
    let kind = known.map(|(_, kind)| kind);
    let form = kind.map_or(Form::unknown(fixed), |kind| Form::of(kind, fixed, context.mac));
    let mut first = true;
    while length > 0 && !rest.is_empty() {
        let before = rest;
        let Some(value) = take(&mut rest, length) else {
            rest = before;
            break;
        };
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        match kind {
            Some(kind @ (Type::BasicList | Type::SubTemplateList | Type::SubTemplateMultiList)) => {
                push(kind, value, context, out);
            }
            _ => value::push(form, value, out),
        }
    }
    out.push(b']');
    rest
}

fn push_one<'a>(bytes: &'a [u8], context: &Context<'_>, out: &mut Vec<u8>) -> &'a [u8] {
    let Some((id, rest)) = bytes.split_first_chunk() else { return bytes };
    out.push(b',');
    push_records(u16::from_be_bytes(*id), rest, context, out)
}

fn push_several<'a>(bytes: &'a [u8], context: &Context<'_>, out: &mut Vec<u8>) -> &'a [u8] {
    out.extend_from_slice(b",\"Lists\":[");
    let (mut rest, mut first) = (bytes, true);
    // The length counts the four bytes of id and length.
    while let Some(([i0, i1, l0, l1], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let Some((records, after)) = length.checked_sub(4).and_then(|length| after.split_at_checked(length))
        else {
            break;
        };
        out.extend_from_slice(if std::mem::take(&mut first) { b"{".as_slice() } else { b",{" });
        let left = push_records(u16::from_be_bytes([*i0, *i1]), records, context, out);
        push_undecoded(left, out);
        out.push(b'}');
        rest = after;
    }
    out.push(b']');
    rest
}

/// `"TemplateId":257,"Records":[…]`; returns what is left over.
fn push_records<'a>(id: u16, bytes: &'a [u8], context: &Context<'_>, out: &mut Vec<u8>) -> &'a [u8] {
    out.extend_from_slice(b"\"TemplateId\":");
    push_u64(u64::from(id), out);
    let Some(template) = context.templates.get(id).filter(|template| template.shortest > 0) else {
        return bytes;
    };
    out.extend_from_slice(b",\"Records\":[");
    let left = push_each(template, bytes, context, out);
    out.push(b']');
    left
}

fn push_each<'a>(template: &Template, bytes: &'a [u8], context: &Context<'_>, out: &mut Vec<u8>) -> &'a [u8] {
    let (mut rest, mut first) = (bytes, true);
    while rest.len() >= template.shortest {
        let (before, start) = (rest, out.len());
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        let open = out.len();
        if !push_record(template, &mut rest, context, &mut Line::of(out)) {
            out.truncate(start);
            return before;
        }
        // The comma before the first member is where the object begins.
        match out.get_mut(open) {
            Some(comma) => *comma = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
    }
    rest
}
