//! `multipart/form-data` that is all there already.

use bytes::Bytes;
use memchr::memmem;

/// One part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
    pub(super) media_type: Option<String>,
    pub(super) body: Bytes,
}

/// The boundary a content type names.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let parameters = content_type.strip_prefix("multipart/form-data")?;
    let value = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("boundary="))?;
    Some(value.trim_matches('"')).filter(|boundary| !boundary.is_empty())
}

/// The parts of a form, or nothing when the body breaks the format.
pub(super) fn parse(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let first = format!("--{boundary}");
    let next = format!("\r\n--{boundary}");
    let mut at = memmem::find(body, first.as_bytes())? + first.len();
    let mut parts = Vec::new();
    loop {
        let rest = body.get(at..)?;
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let head = rest.strip_prefix(b"\r\n")?;
        let head_end = memmem::find(head, b"\r\n\r\n")?;
        let start = at + 2 + head_end + 4;
        let end = start + memmem::find(body.get(start..)?, next.as_bytes())?;
        parts.push(part(head.get(..head_end)?, body.slice(start..end))?);
        at = end + next.len();
    }
}

fn part(head: &[u8], body: Bytes) -> Option<Part> {
    let head = std::str::from_utf8(head).ok()?;
    let header = |wanted: &str| {
        head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let disposition = header("content-disposition")?;
    let parameter = |wanted: &str| {
        disposition.split(';').find_map(|parameter| {
            let (name, value) = parameter.trim().split_once('=')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim_matches('"').to_owned())
        })
    };
    Some(Part {
        name: parameter("name")?,
        file_name: parameter("filename"),
        media_type: header("content-type").map(str::to_owned),
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_fields_are_told_apart() {
        let body = "preamble\r\n--x\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na hat\r\n--x\r\n\
            content-type: image/png\r\ncontent-disposition: form-data; name=\"image[]\"; filename=\"a.png\"\r\n\r\n\
            \r\n--\r\n\r\n--x--\r\n";
        let parts = parse(&body.into(), boundary("multipart/form-data; boundary=\"x\"").unwrap()).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].name.as_str(), &parts[0].body[..]), ("prompt", &b"a hat"[..]));
        assert_eq!(parts[1].file_name.as_deref(), Some("a.png"));
        assert_eq!((parts[1].media_type.as_deref(), &parts[1].body[..]), (Some("image/png"), &b"\r\n--\r\n"[..]));
    }

    #[test]
    fn broken_forms_are_refused() {
        for body in ["", "--x", "--x\r\n", "--x\r\nContent-Disposition: form-data; name=a\r\n\r\nno end", "--y--"] {
            assert_eq!(parse(&body.into(), "x"), None, "{body:?}");
        }
    }
}
