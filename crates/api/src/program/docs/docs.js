// Light or dark as the reader's system is, and changes with it.
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", colour);
colour();

// Without the bar that asks for the address of some other document, and with the schemas folded.
SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  layout: "BaseLayout",
  validatorUrl: "none",
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
});
