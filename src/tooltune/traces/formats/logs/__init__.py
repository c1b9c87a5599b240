"""The envelopes of logged requests, and the API answers inside them."""
