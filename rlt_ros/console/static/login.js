// Gives the token once; the server answers with a cookie.
const answer = document.getElementById("answer");

document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  answer.textContent = "…";
  const token = document.getElementById("token").value;
  const response = await fetch("login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (response.ok) location.reload();
  else answer.textContent = (await response.json()).error;
});
