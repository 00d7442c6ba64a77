// A list of facts as buttons, each of which triggers click with its fact.
const list = element.querySelector("ul"), said = element.querySelector("p");
function update() {
  const told = JSON.parse(props.value || '{"said": "", "facts": []}');
  said.textContent = told.said;
  list.replaceChildren(...told.facts.map(([edge, head, relation, words]) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.addEventListener("click", () => trigger("click", { edge, head, relation }));
    item.append(button);
    return item;
  }));
}
watch("value", update);
update();
