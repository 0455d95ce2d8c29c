--- Heads of ICAP and HTTP messages: text to fields and back. Pure; strict in what it takes.

local byte, find, gmatch, lower, match, sub =
    string.byte, string.find, string.gmatch, string.lower, string.match, string.sub
local concat = table.concat

local _M = {
    -- As large as nginx itself takes from an upstream with generous buffers, and Squid from an ICAP server.
    MAX_BYTES = 65536,
}

-- RFC 9110 §7.6.1, and what old proxies sent: between two neighbours, never part of what is encapsulated.
local HOP_BY_HOP = {
    ["connection"] = true,
    ["keep-alive"] = true,
    ["proxy-authenticate"] = true,
    ["proxy-authorization"] = true,
    ["proxy-connection"] = true,
    ["te"] = true,
    ["trailer"] = true,
    ["transfer-encoding"] = true,
    ["upgrade"] = true,
}

local SPACE, TAB = byte(" "), byte("\t")

local function is_blank(char)
    return char == SPACE or char == TAB
end

--- The part of the line from `first` on, without blanks at its ends.
local function trimmed(line, first)
    local last = #line
    while is_blank(byte(line, first)) do
        first = first + 1
    end
    while last >= first and is_blank(byte(line, last)) do
        last = last - 1
    end
    return sub(line, first, last)
end

local function has_line_noise(line)
    return find(line, "\r", 1, true) or find(line, "\n", 1, true) or find(line, "\0", 1, true)
end

--- Read the text of a head: lines with their CRLFs, without the empty one. By plain searches: patterns took a fifth of
-- a request's time.
-- @return start line and a list of { name, value, key = lower-case name }; or nil and what is wrong.
function _M.parse(text)
    local start_line, fields, last = nil, {}, nil
    local at = 1
    while at <= #text do
        local stop = find(text, "\r\n", at, true)
        local line = sub(text, at, (stop or 0) - 1)
        if not stop or has_line_noise(line) then
            return nil, "a NUL, a bare CR or LF in a head"
        elseif not start_line then
            start_line = line
        elseif last and is_blank(byte(line)) then
            -- Obsolete folding: Symantec's X-Violations-Found comes so.
            last[2] = last[2] .. " " .. trimmed(line, 1)
        else
            local colon = find(line, ":", 1, true)
            local name = colon and sub(line, 1, colon - 1)
            if not name or name == "" or find(name, "[%s%c]") then
                return nil, "a malformed header line"
            end
            last = { name, trimmed(line, colon + 1), key = lower(name) }
            fields[#fields + 1] = last
        end
        at = stop + 2
    end
    if not start_line then
        return nil, "an empty head"
    end
    return start_line, fields
end

--- The first field of that name (in lower case).
function _M.get(fields, key)
    for _, field in ipairs(fields) do
        if field.key == key then
            return field[2]
        end
    end
end

--- One list of all comma-separated values of that name, in lower case, each as key and true.
function _M.list(fields, key)
    local values = {}
    for _, field in ipairs(fields) do
        if field.key == key then
            for value in gmatch(lower(field[2]), "[^,%s]+") do
                values[value] = true
            end
        end
    end
    return values
end

--- The length that Content-Length gives.
-- @return a number; nil without one; false if it is malformed or there are two that differ.
function _M.content_length(fields)
    local found
    for _, field in ipairs(fields) do
        if field.key == "content-length" then
            -- Fifteen digits: more than a number of Lua counts exactly would be needed for no real body.
            if not find(field[2], "^%d+$") or #field[2] > 15 or (found and found ~= field[2]) then
                return false
            end
            found = field[2]
        end
    end
    return found and tonumber(found)
end

--- The fields that belong to the message, and not to the connection it came on.
function _M.end_to_end(fields)
    local named = _M.list(fields, "connection")
    local kept = {}
    for _, field in ipairs(fields) do
        if not HOP_BY_HOP[field.key] and not named[field.key] then
            kept[#kept + 1] = field
        end
    end
    return kept
end

--- The fields but those of the names that are keys of `names`.
function _M.without(fields, names)
    local kept = {}
    for _, field in ipairs(fields) do
        if not names[field.key] then
            kept[#kept + 1] = field
        end
    end
    return kept
end

--- The fields with this Content-Length, and no other.
function _M.with_length(fields, size_bytes)
    local kept = _M.without(fields, { ["content-length"] = true })
    kept[#kept + 1] = { "Content-Length", tostring(size_bytes), key = "content-length" }
    return kept
end

--- The text of a head, with its empty line.
function _M.build(start_line, fields)
    local lines = { start_line }
    for index, field in ipairs(fields) do
        lines[index + 1] = field[1] .. ": " .. field[2]
    end
    lines[#lines + 1] = "\r\n"
    return concat(lines, "\r\n")
end

--- The status of `HTTP/1.1 200 OK` or `ICAP/1.0 204 No Content`; the reason may be missing.
-- @param protocol "HTTP" or "ICAP".
function _M.status(start_line, protocol)
    local name, code, after = match(start_line, "^(%u+)/%d%.%d ([1-5]%d%d)(.?)")
    if name ~= protocol or not (after == "" or after == " ") then
        return nil
    end
    return tonumber(code)
end

--- Safe to stand in one line of a head or a log: a value that came from somebody else.
function _M.one_line(value)
    return (string.gsub(sub(value, 1, 256), "[%c\127-\255]", function(char)
        return string.format("%%%02X", byte(char))
    end))
end

return _M
