// Labels the pictures that are dropped on the page, or chosen.
import { probabilitiesOf } from "./label.js";

const drop = document.getElementById("drop");
const state = document.getElementById("state");
const answers = document.getElementById("answers");
const classes = await (await fetch("classes.json")).json();

async function show(files) {
  for (const file of files) {
    state.textContent = `Reading ${file.name} ...`;
    try {
      answers.prepend(answer(file, await probabilitiesOf(file)));
      state.textContent = "";
    } catch (error) {
      state.textContent = `${file.name} cannot be read: ${error.message}`;
    }
  }
}

// Return a figure: the picture, and the classes from the most probable on.
function answer(file, probabilities) {
  const figure = document.createElement("figure");
  const picture = new Image();
  picture.src = URL.createObjectURL(file);
  const table = document.createElement("table");
  const order = [...probabilities.keys()].sort((one, other) => probabilities[other] - probabilities[one]);
  for (const i of order) {
    const row = table.insertRow();
    row.insertCell().textContent = classes[i];
    row.insertCell().textContent = probabilities[i].toFixed(4);
  }
  figure.append(picture, table);
  return figure;
}

for (const name of ["dragenter", "dragover", "dragleave", "drop"])
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragenter" || name === "dragover");
  });
document.addEventListener("drop", (event) => show(event.dataTransfer.files));
drop.querySelector("input").addEventListener("change", (event) => show(event.target.files));
state.textContent = "Ready.";
