"""Search with a picture plus words, in the registry's champion or in a folder of your own pictures.

    python examples/search.py dress.jpg "is blue and longer"
    python examples/search.py dress.jpg "is blue and longer" --model artifacts/fashioniq/model --gallery my-pictures

Shows `qure.load` and what a search returns: image id, relevance, and the file where it is on this disk.
"""

import argparse

import qure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("text")
    parser.add_argument("--model", default="models:/qure-fashioniq@champion", help="in the registry, or a folder")
    parser.add_argument("--gallery", help="a folder of pictures; the registered model's own gallery when left out")
    parser.add_argument("--top-k", type=int, default=5)
    asked = parser.parse_args()

    model = qure.load(asked.model, gallery=asked.gallery)
    print(f"{len(model)} images; groups: {', '.join(model.groups) or 'none'}")
    for found in model.search(asked.image, asked.text, top_k=asked.top_k):
        print(f"{found.relevance:.3f}  {found.image_id}  {found.path or ''}")


if __name__ == "__main__":
    main()
