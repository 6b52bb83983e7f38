use std::fmt;

use pbx_domain::User;

use crate::{EndpointOptions, Prefix, RenderError, Rendering, endpoints::Endpoints, routing};

/// Makes both files of users: always the same text of the same users.
///
/// `Renderer::default()` writes what the portal does without options.
///
/// ```
/// use pbx_confgen::{EndpointOptions, Renderer};
///
/// let options = EndpointOptions::new(["media_encryption=sdes"])?;
/// let renderer = Renderer::new(&"office".parse()?, &options);
/// let rendering = renderer.render(&[])?;
/// assert!(rendering.endpoints.contains("\n[office-endpoint](!)\ntype=endpoint\ncontext=office-internal\n"));
/// assert!(rendering.endpoints.contains("\nmedia_encryption=sdes\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Renderer {
    prefix: Prefix,
    endpoints: Endpoints,
}

impl Renderer {
    /// A renderer whose objects and contexts other than the users' are named `<prefix>-…`, with more options of every
    /// endpoint.
    #[must_use]
    pub fn new(prefix: &Prefix, options: &EndpointOptions) -> Self {
        Self { prefix: prefix.clone(), endpoints: Endpoints::new(prefix.as_str(), options) }
    }

    /// Renders both files for exactly these users, in any order.
    ///
    /// The work is proportional to the number of users.
    ///
    /// # Errors
    ///
    /// [`RenderError::DuplicateExtension`] when two users have one extension. No value that `pbx-domain`
    /// let pass makes a [`RenderError::ControlCharacter`].
    pub fn render(&self, users: &[User]) -> Result<Rendering, RenderError> {
        let mut users: Vec<&User> = users.iter().collect();
        users.sort_unstable_by_key(|user| user.extension);
        match users.windows(2).find(|pair| pair[0].extension == pair[1].extension) {
            Some(pair) => Err(RenderError::DuplicateExtension { extension: pair[0].extension }),
            None => self.render_sorted(&users),
        }
    }

    /// What [`Self::render`] does once the users are known to be in order and to have one extension each.
    ///
    /// Public for the benchmark alone, which needs more users than there are extensions.
    ///
    /// # Errors
    ///
    /// None for users in order.
    #[doc(hidden)]
    pub fn render_sorted(&self, users: &[&User]) -> Result<Rendering, RenderError> {
        Ok(Rendering {
            endpoints: self.endpoints.render(users)?,
            routing: routing::render(self.prefix.as_str(), users)?,
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

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renderer").field("prefix", &self.prefix).field("endpoints", &self.endpoints).finish()
    }
}
