// The page of a conversation: it sends what a person writes or clicks, and puts the parts of the answer in place.
// All markup comes from the server, which escapes every value; the page's policy lets no other script run.
"use strict"

const address = document.body.dataset.address
const part = id => document.getElementById(id)
const [log, composer, box, send, stop, status] = ["log", "composer", "message", "send", "stop", "status"].map(part)
let isRunning = false

function setRunning(running, words) {
  isRunning = running
  if (!running && document.activeElement === stop) box.focus()
  send.hidden = running
  stop.hidden = !running
  log.setAttribute("aria-busy", String(running))
  status.textContent = words
}

function put({place, how, html}) {
  const target = part(place)
  if (how === "replace") {
    const hadFocus = target.contains(document.activeElement)
    target.innerHTML = html
    if (hadFocus) box.focus()
  } else {
    target.insertAdjacentHTML("beforeend", html)
  }
  if (place !== "log") return
  const [entry, before] = [target.lastElementChild, target.lastElementChild.previousElementSibling]
  const top = before?.matches(".you") ? before : entry  // an answer comes into view with its message
  scrollBy(0, top.getBoundingClientRect().top - 16)
}

function press(feedback) {
  for (const button of log.querySelectorAll("button[data-kind]")) {
    button.setAttribute("aria-pressed", String((feedback[button.dataset.item] ?? []).includes(button.dataset.kind)))
  }
}

function follow() {
  setRunning(true, "The agent is answering…")
  const events = new EventSource(`${address}/events`)
  const end = words => { events.close(); setRunning(false, words) }
  events.onmessage = event => {
    const received = JSON.parse(event.data)
    if (received.place) return put(received)
    if (received.feedback) press(received.feedback)
    end(received.end)
  }
  events.onerror = () => {
    // The browser tries again by itself unless the server has answered that nothing is there.
    if (events.readyState === EventSource.CLOSED) end("The connection was closed. Reload the page to see the answer.")
    else status.textContent = "The connection is interrupted; trying again…"
  }
}

async function post(path, body) {
  try {
    return await fetch(address + path, {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
    })
  } catch {
    return null
  }
}

async function say(turn) {
  if (isRunning) {
    status.textContent = "Wait for the answer, or stop it."
    return false
  }
  setRunning(true, "Sending…")
  const answer = await post("/turns", turn)
  if (answer?.status === 202) {
    part("welcome")?.remove()
    follow()
    return true
  }
  setRunning(false, answer ? (await answer.text()) : "The server cannot be reached. Nothing was sent.")
  return false
}

composer.addEventListener("submit", async event => {
  event.preventDefault()
  const message = box.value.trim()
  if (message && await say({message}) && box.value.trim() === message) {
    box.value = ""
    fit()
  }
})

box.addEventListener("keydown", event => {
  if (event.isComposing) return
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault()
    composer.requestSubmit()
  } else if (event.key === "Escape" && isRunning) {
    stop.click()
  }
})

function fit() {
  box.rows = Math.min(6, box.value.split("\n").length)
}
box.addEventListener("input", fit)

stop.addEventListener("click", async () => {
  status.textContent = "Stopping…"
  if (!await post("/stop", {})) status.textContent = "The server cannot be reached."
})

document.addEventListener("click", event => {
  const button = event.target.closest("button[data-edit], button[data-say]")
  if (!button) return
  if (button.dataset.say !== undefined) return say({message: button.dataset.say})
  const isPressed = button.getAttribute("aria-pressed") === "true"
  say({edit: JSON.parse((isPressed && button.dataset.again) || button.dataset.edit)})
})

// Not by scrollIntoView, from which the Tab key would go on.
if (log.querySelector("article")) scrollBy(0, log.getBoundingClientRect().bottom + composer.offsetHeight - innerHeight)
if (document.body.dataset.running === "true") follow()
