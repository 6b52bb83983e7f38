use pbx_domain::{ExtensionRange, User};

use crate::endpoints::Endpoints;
use crate::{Context, ContextError, EndpointOptions, Prefix, RenderError, Rendering, routing};

/// Makes both files of users: always the same text of the same users.
///
/// `Renderer::default()` writes what the portal does without options.
///
/// ```
/// use pbx_confgen::{EndpointOptions, Renderer};
/// use pbx_domain::ExtensionRange;
///
/// let options = EndpointOptions::new(["media_encryption=sdes"])?;
/// let renderer = Renderer::new(&"office".parse()?, &options)
///     .in_context(&"from-office".parse()?)?
///     .with_range(ExtensionRange::new(200, 299)?);
/// let rendering = renderer.render(&[])?;
/// assert!(rendering.endpoints.contains("](!)\ntype=endpoint\ncontext=from-office\n"));
/// assert!(rendering.endpoints.contains("\nmedia_encryption=sdes\n"));
/// assert!(rendering.routing.contains("\n[from-office]\ninclude => office-users\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Renderer {
    prefix: Prefix,
    context: String,
    range: ExtensionRange,
    options: EndpointOptions,
    endpoints: Endpoints,
}

impl Renderer {
    /// A renderer whose objects and contexts other than the users' are named `<prefix>-…`, with more options of every
    /// endpoint.
    #[must_use]
    pub fn new(prefix: &Prefix, options: &EndpointOptions) -> Self {
        let context = format!("{prefix}-internal");
        Self {
            endpoints: Endpoints::new(prefix.as_str(), &context, options),
            prefix: prefix.clone(),
            context,
            range: ExtensionRange::PORTAL,
            options: options.clone(),
        }
    }

    /// With phones that call in this context, which is defined in place of `<prefix>-internal`. What another file adds to
    /// a context of the same name, phones may reach as well.
    ///
    /// # Errors
    ///
    /// [`ContextError`] for `<prefix>-ring` and `<prefix>-users`, which are defined already.
    pub fn in_context(self, context: &Context) -> Result<Self, ContextError> {
        let context = context.as_str().to_owned();
        if ["ring", "users"].iter().any(|own| context == format!("{}-{own}", self.prefix)) {
            return Err(ContextError);
        }
        Ok(Self { endpoints: Endpoints::new(self.prefix.as_str(), &context, &self.options), context, ..self })
    }

    /// With users whose extensions are of this range, in place of the portal's.
    #[must_use]
    pub fn with_range(self, range: ExtensionRange) -> Self {
        Self { range, ..self }
    }

    /// Renders both files for exactly these users, in any order.
    ///
    /// The work is proportional to the number of users.
    ///
    /// # Errors
    ///
    /// [`RenderError::DuplicateExtension`] when two users have one extension, [`RenderError::OutsideRange`] when one has
    /// an extension of another range. No value that `pbx-domain`
    /// let pass makes a [`RenderError::ControlCharacter`].
    pub fn render(&self, users: &[User]) -> Result<Rendering, RenderError> {
        let mut users: Vec<&User> = users.iter().collect();
        users.sort_unstable_by_key(|user| user.extension);
        if let Some(user) = users.iter().find(|user| !self.range.contains(user.extension)) {
            return Err(RenderError::OutsideRange { extension: user.extension, range: self.range });
        }
        if let Some(pair) = users.windows(2).find(|pair| pair[0].extension == pair[1].extension) {
            return Err(RenderError::DuplicateExtension { extension: pair[0].extension });
        }
        Ok(Rendering {
            endpoints: self.endpoints.render(&users)?,
            routing: routing::render(self.prefix.as_str(), &self.context, self.range, &users)?,
        })
    }

    /// The name of this user's auth in the file of endpoints, `<extension>-<12 hexadecimal digits>`: another one whenever
    /// anything that the file says of the user is another, the options of every endpoint included.
    ///
    /// Much cheaper than a rendering: an endpoint that is live with this auth has exactly this user's settings.
    ///
    /// # Errors
    ///
    /// As [`Self::render`].
    pub fn auth_name(&self, user: &User) -> Result<String, RenderError> {
        self.endpoints.auth_name(user)
    }
}

impl Default for Renderer {
    fn default() -> Self {
        Self::new(&Prefix::default(), &EndpointOptions::default())
    }
}
