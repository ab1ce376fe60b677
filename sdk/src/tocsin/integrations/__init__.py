"""Wrappers and callbacks for the libraries that services call models with; importing `tocsin` imports none of them.

openai      `watch(client, …)`: OpenAI's client, also asynchronous and streaming
litellm     `TocsinLogger`: a callback
langchain   `TocsinCallbackHandler`: a callback handler

None of them changes, delays or breaks a call: what goes wrong in here is counted and logged once, and the call goes on.
"""
