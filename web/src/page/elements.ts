/** Elements of the page, made and found, and how numbers are written in them. */

/** A new element with attributes and children; text stays text. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A button that does something when it is pressed. */
export function button(text: string, onPress: () => void): HTMLButtonElement {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", onPress);
  return made;
}

/** The element of index.html with this id. */
export function byId<Type extends HTMLElement = HTMLElement>(id: string): Type {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no element "${id}".`);
  return found as Type;
}

/** Seconds as a clock shows them: 1:05, or 1:05.5 with tenths. */
export function clock(seconds: number, withTenths = false): string {
  const tenths = withTenths ? Math.round(10 * seconds) : 10 * Math.round(seconds);
  const rest = (tenths % 600) / 10;
  const text = rest.toFixed(withTenths ? 1 : 0).padStart(withTenths ? 4 : 2, "0");
  return `${Math.floor(tenths / 600)}:${text}`;
}

/** A probability as a percentage. */
export function percent(score: number): string {
  return `${Math.round(100 * score)}%`;
}
