// The front page asks the API how many products there are, so that browsers make requests of their own.
const count = document.getElementById("count");
if (count) {
  fetch("/api/products")
    .then((answer) => answer.json())
    .then((products) => { count.textContent = `${products.length} products`; });
}
