//! Where a request goes, and in which form its pictures come back.

use std::sync::Arc;

use super::ApiRoute;
use crate::{
    access::Client,
    config::{AnswerPolicy, Config, Images, Model, ResponseForm, Target, Upstream},
    error::{Code, Error, Result},
    rewrite::{
        answer::{Form, Rules},
        request::Findings,
    },
};

/// What is done with one request.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: Arc<Config>,
    model: usize,
    /// The model as the client named it.
    pub(super) named: Option<String>,
    pub(super) rules: Rules,
}

/// One place to send the request to.
#[derive(Debug)]
pub(super) struct Destination<'a> {
    pub(super) upstream: &'a Upstream,
    /// The model's name there, when it is another than the client's.
    pub(super) rename: Option<&'a str>,
    /// `response_format` must not be sent.
    pub(super) strip_response_format: bool,
}

impl Plan {
    /// # Errors
    /// [`Code::ModelNotFound`] when no model of this name is configured.
    pub(super) fn new(config: &Arc<Config>, route: ApiRoute, client: &Client, found: &Findings) -> Result<Self> {
        let named = found.model.as_ref().map(|field| field.value.clone()).filter(|name| !name.is_empty());
        let model = find_model(config, named.as_deref())?;
        let plan = Self { config: Arc::clone(config), model, named, rules: Rules::new(route.shape(), Form::Url) };
        let images =
            plan.images().ok_or_else(|| Error::new(Code::Internal, "The model is not configured any more."))?;
        let asked = found.response_format.as_ref().map(|field| field.value.as_str()).filter(|asked| !asked.is_empty());
        let rules = answer_rules(route, asked, client, images);
        let rules = Rules { pictures: config.limits.images_per_answer, ..rules };
        Ok(Self { rules, ..plan })
    }

    /// The model's settings for pictures.
    pub(super) fn images(&self) -> Option<&Images> {
        self.model().map(|model| &model.images)
    }

    /// The places to try, in order.
    pub(super) fn destinations(&self) -> impl Iterator<Item = Destination<'_>> {
        let model = self.model();
        let targets = model.map(|model| model.targets.as_slice()).unwrap_or_default();
        targets.iter().filter_map(move |target| self.destination(model?, target))
    }

    fn destination<'a>(&'a self, model: &'a Model, target: &'a Target) -> Option<Destination<'a>> {
        let upstream = self.config.upstreams.get(target.upstream)?;
        let rename = target.model.as_deref().filter(|name| self.named.as_deref() != Some(name));
        let name = target.model.as_deref().or(self.named.as_deref()).unwrap_or_default();
        let accepts = model.accepts_response_format.unwrap_or_else(|| !is_gpt_image(name));
        Some(Destination { upstream, rename, strip_response_format: !accepts })
    }

    /// The model's settings.
    pub(super) fn model(&self) -> Option<&Model> {
        self.config.models.get(self.model)
    }
}

/// The model of this name, or the one for every other name.
fn find_model(config: &Config, name: Option<&str>) -> Result<usize> {
    let find = |wanted: &str| config.models.iter().position(|model| model.name == wanted);
    let found = name.and_then(find).or_else(|| find("*"));
    match (found, name) {
        (Some(model), _) => Ok(model),
        (None, Some(name)) => {
            let name: String = name.chars().take(100).collect();
            Err(Error::new(
                Code::ModelNotFound,
                format!("The model '{name}' does not exist on this gateway. GET /v1/models lists those that do."),
            )
            .param("model"))
        }
        (None, None) => Err(Error::new(Code::InvalidRequest, "You must provide a model parameter.").param("model")),
    }
}

/// OpenAI's GPT image models refuse `response_format` and always answer base64.
fn is_gpt_image(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // As in `openai/gpt-image-1`, `azure-gpt-image-1`, `us.gpt-image-1.5`.
    name.contains("gpt-image")
}

/// The response policy: what is asked for, else the key's, else the model's (which has the default merged in). A key that
/// forces its form comes first.
fn answer_rules(route: ApiRoute, asked: Option<&str>, client: &Client, images: &Images) -> Rules {
    let shape = route.shape();
    let by_answer = |policy| match policy {
        AnswerPolicy::Url => Rules::new(shape, Form::Url),
        AnswerPolicy::AsUpstream => Rules { links: false, ..Rules::new(shape, Form::AsCame) },
    };
    match route {
        ApiRoute::Chat => return by_answer(images.chat),
        ApiRoute::Responses => return by_answer(images.responses),
        _ => {}
    }
    let forced = client.images.filter(|_| client.images_force);
    let policy = match (forced, asked) {
        (Some(forced), _) => forced,
        (None, Some("url")) => ResponseForm::Url,
        (None, Some("b64_json")) => ResponseForm::B64Json,
        // A spelling of the upstream's own.
        (None, Some(_)) => ResponseForm::AsAsked,
        (None, None) => client.images.unwrap_or(images.response_format),
    };
    let form = match policy {
        ResponseForm::Url => Form::Url,
        ResponseForm::B64Json => Form::Base64,
        ResponseForm::Both => Form::Both,
        ResponseForm::AsAsked => match asked {
            Some("url") => Form::Url,
            Some("b64_json") => Form::Base64,
            _ => Form::AsCame,
        },
    };
    let named = forced.is_some() || asked.is_some() || client.images.is_some();
    Rules { named, ..Rules::new(shape, form) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ResponseForm::{AsAsked, B64Json, Both, Url};

    #[test]
    fn what_the_client_asked_for_wins_then_its_key_then_the_model() {
        let b64 = Some("b64_json");
        // asked, the key's policy, forced, the model's policy → form
        for (asked, key, force, model, form) in [
            (None, None, false, Url, Form::Url),
            (None, None, false, B64Json, Form::Base64),
            (None, None, false, Both, Form::Both),
            (None, None, false, AsAsked, Form::AsCame),
            (None, Some(Both), false, Url, Form::Both),
            (b64, None, false, Url, Form::Base64),
            (b64, Some(Url), false, Url, Form::Base64),
            (b64, Some(Url), true, Url, Form::Url),
            (Some("url"), Some(B64Json), false, B64Json, Form::Url),
            (Some("url"), Some(AsAsked), true, B64Json, Form::Url),
            (Some("base64"), None, false, Url, Form::AsCame),
        ] {
            let client = Client { name: "c".into(), images: key, images_force: force, may_delete: false };
            let images = Images { response_format: model, ..Images::default() };
            let rules = answer_rules(ApiRoute::Generations, asked, &client, &images);
            assert_eq!(rules.form, form, "{asked:?} {key:?} {force} {model:?}");
        }
    }

    #[test]
    fn chat_becomes_urls_and_responses_stay_unless_told_otherwise() {
        let client = Client { name: "c".into(), images: Some(B64Json), images_force: true, may_delete: false };
        let images = Images::default();
        assert_eq!(answer_rules(ApiRoute::Chat, None, &client, &images).form, Form::Url);
        assert_eq!(answer_rules(ApiRoute::Responses, None, &client, &images).form, Form::AsCame);
        let images = Images { chat: AnswerPolicy::AsUpstream, responses: AnswerPolicy::Url, ..images };
        assert_eq!(answer_rules(ApiRoute::Chat, None, &client, &images).form, Form::AsCame);
        assert_eq!(answer_rules(ApiRoute::Responses, None, &client, &images).form, Form::Url);
    }

    #[test]
    fn gpt_image_models_are_known_by_name() {
        for name in
            ["gpt-image-2", "chatgpt-image-latest", "openai/gpt-image-1.5", "azure-gpt-image-1", "us.GPT-Image-1"]
        {
            assert!(is_gpt_image(name), "{name}");
        }
        for name in ["dall-e-3", "gpt-4o", "image-gpt", ""] {
            assert!(!is_gpt_image(name), "{name}");
        }
    }
}
