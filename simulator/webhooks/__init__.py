"""The webhooks: which events follow from a change, and their signed delivery with retries."""
